"""The query of a URL: signatures and tokens are in it, so nobody is shown it."""

import re
from collections.abc import Iterator
from urllib.parse import unquote, unquote_plus

# Shorter values are rather numbers and words than secrets.
_MIN_VALUE_BYTES = 8
_QUERY = re.compile(r"[^?#]*\?([^#]*)", re.DOTALL)
_PAIRS = re.compile(r"[&;]")


def without_query(url: str) -> str:
    """For display: `?…` in the place of a query, and no fragment."""
    place, mark, _ = url.partition("#")[0].partition("?")
    return f"{place}?…" if mark else place


def query_values(url: str) -> Iterator[str]:
    """The values of 8 bytes and more in the query, as written; a parameter without `=` is one."""
    match = _QUERY.match(url)
    for pair in _PAIRS.split(match[1]) if match is not None else ():
        name, mark, value = pair.partition("=")
        written = value if mark else name
        if len(unquote(written).encode(errors="surrogatepass")) >= _MIN_VALUE_BYTES:
            yield written


def spellings(value: str) -> set[str]:
    """A value of a query as written and as servers decode it: `+` is a space to some of them."""
    return {value, unquote(value), unquote_plus(value)}
