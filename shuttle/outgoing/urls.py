"""Splits a caller's URL into scheme, userinfo, host, port and rest, and checks each part."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv6Address
from urllib.parse import unquote_to_bytes

from yarl import URL

from shuttle.errors import InvalidRequestError

# Whitespace and control characters would split a header or a log line; lone surrogates have no bytes to send.
_UNUSABLE = re.compile(r"[\s\x00-\x20\x7f-\x9f\ud800-\udfff]")
_ADDRESS = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*)://"
    r"(?:(?P<userinfo>[^/?#@\\\[\]]*)@)?"
    r"(?P<host>\[[^\[\]/?#@]*\]|[^:/?#@\\\[\]]*)"
    r"(?::(?P<port>[^/?#@\\\[\]]*))?"
    r"(?P<rest>(?:[/?#].*)?)",
    re.DOTALL,
)
# Any sequence of labels is a name, also `10.0.0.0.1` and the name of a container with `_`. A name is looked up when it
# is used.
_HOST = re.compile(r"(?!.{254})[A-Za-z0-9_\-]{1,63}(?:\.[A-Za-z0-9_\-]{1,63})*\.?")
MAX_URL_CHARACTERS = 16_384
_PORT = re.compile(r"[0-9]{1,5}")
# The characters of RFC 3986.
_VALID = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]*")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class UrlParts:
    """The parts of a URL as written: `userinfo` is percent-encoded, `rest` is empty or begins with `/`, `?` or `#`."""

    scheme: str
    host: str
    port: int | None
    userinfo: str | None = field(repr=False)
    rest: str = field(repr=False)


def split_url(url: str, name: str) -> UrlParts:
    """Split `url`, the value of the request's field `name`.

    Raises:
        InvalidRequestError: it is not a URL, or a part of it cannot be used; the message never repeats the URL.
    """
    check_length(url, name)
    if _UNUSABLE.search(url):
        raise InvalidRequestError(
            "Write the URL without whitespace, control characters or lone surrogates.", field=name
        )
    parts = _ADDRESS.fullmatch(url)
    if parts is None:
        raise InvalidRequestError(
            "Write a URL like scheme://host/path, with any of @ [ ] \\ in its user or password percent-encoded.",
            field=name,
        )
    scheme, userinfo, host, port, rest = parts.groups()
    check_host(host, name)
    if userinfo is not None:
        check_userinfo(userinfo, name)
    if not url.isascii():
        _check_international(f"http://{host}{rest}", name)
    return UrlParts(scheme.lower(), host, None if port is None else read_port(port, name), userinfo, rest)


def as_written(url: str) -> URL:
    """The URL with its percent-escapes as written, because a signature may cover them; escaped only if it must be.

    Raises ValueError for a URL that cannot be parsed.
    """
    return URL(url, encoded=_VALID.fullmatch(url) is not None)


def named(schemes: Iterable[str]) -> str:
    """`http, https or kafka`, for errors; variants like kafka+ssl of a scheme that is named are left out."""
    given = tuple(schemes)
    variants = {scheme for scheme in given if "+" in scheme and scheme.partition("+")[0] in given}
    *others, last = (scheme for scheme in given if scheme not in variants)
    return f"{', '.join(others)} or {last}"


def check_length(url: str, name: str) -> None:
    """Refuse a URL that is too long. Call it first: the other checks may take long for a very long URL."""
    if len(url) > MAX_URL_CHARACTERS:
        raise InvalidRequestError(f"Write the URL in up to {MAX_URL_CHARACTERS} characters.", field=name)


def check_host(host: str, name: str) -> None:
    """Refuse an invalid host: an empty or overlong label, or brackets without an IPv6 address in them."""
    if host.startswith("["):
        try:
            IPv6Address(host[1:-1].replace("%", " "))  # makes a zone invalid: it has a meaning on one machine only
        except AddressValueError:
            raise InvalidRequestError("Write an IPv6 address between the brackets of the URL.", field=name) from None
    elif host.isascii() and not _HOST.fullmatch(host):
        raise InvalidRequestError("Write a host name or an address after the :// of the URL.", field=name)


def read_port(port: str, name: str) -> int:
    """Read a port number, 1 to 65535."""
    if not _PORT.fullmatch(port) or not 1 <= int(port) <= 65_535:
        raise InvalidRequestError("Write a port between 1 and 65535 after the host of the URL.", field=name)
    return int(port)


def check_userinfo(userinfo: str, name: str) -> None:
    """Refuse userinfo that does not percent-decode to printable text: other credentials would be sent than meant."""
    try:
        decoded = unquote_to_bytes(userinfo).decode()
    except UnicodeDecodeError:
        decoded = "\0"
    if _BAD_ESCAPE.search(userinfo) or not decoded.isprintable():
        raise InvalidRequestError(
            "Percent-encode the user and password of the URL as UTF-8, without control characters.", field=name
        )


def _check_international(url: str, name: str) -> None:
    """Refuse a host outside ASCII that has no IDNA form; the client library connects to that form."""
    try:
        host = URL(url).raw_host
    except ValueError:
        host = None
    if not host or not (host.startswith("[") or ":" in host or _HOST.fullmatch(host)):
        raise InvalidRequestError("Write a host name that has an ASCII (IDNA) form.", field=name)
