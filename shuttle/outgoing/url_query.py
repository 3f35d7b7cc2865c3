"""The query of a URL, which may hold signatures and tokens and is therefore treated as secret."""

import re
from collections.abc import Iterator
from urllib.parse import unquote, unquote_plus

# Shorter values are more likely numbers and words than secrets.
_MIN_VALUE_BYTES = 8
_QUERY = re.compile(r"[^?#]*\?([^#]*)", re.DOTALL)
_PAIRS = re.compile(r"[&;]")


def without_query(url: str) -> str:
    """The URL for display: the query replaced by `?…`, the fragment removed."""
    path, mark, _ = url.partition("#")[0].partition("?")
    return f"{path}?…" if mark else path


def query_values(url: str) -> Iterator[str]:
    """The values in the query that have at least 8 bytes, as written. A parameter without `=` counts as a value."""
    match = _QUERY.match(url)
    for pair in _PAIRS.split(match[1]) if match is not None else ():
        name, mark, value = pair.partition("=")
        written = value if mark else name
        if len(unquote(written).encode(errors="surrogatepass")) >= _MIN_VALUE_BYTES:
            yield written


def spellings(value: str) -> set[str]:
    """A value of a query as written and as servers decode it; some decode `+` as a space."""
    return {value, unquote(value), unquote_plus(value)}
