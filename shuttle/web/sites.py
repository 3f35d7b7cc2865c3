"""Refusal of requests that another site's page makes a browser send, across origins or by DNS rebinding.

Without these checks, a page of any site could use the service through a browser on a machine that reaches it. Other
clients can send any Host and Origin; tokens protect against them.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from aiohttp import HttpVersion11, hdrs, web

from shuttle.errors import ForbiddenError, InvalidRequestError
from shuttle.outgoing.lookup import is_address
from shuttle.settings.values import is_loopback

_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{0,5}))?")
_SCHEME = re.compile(r"(https?)://", re.IGNORECASE)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_READING = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})
# Sec-Fetch-Site as browsers send it from the service's own pages, and for an address that a person typed.
_OWN_SITES = frozenset({"same-origin", "none"})


@dataclass(frozen=True, slots=True)
class _Origin:
    """A web origin: scheme, host (lower case, without a trailing dot) and port."""

    scheme: str
    host: str
    port: int


class Sites:
    """Knows the service's own names. With `addresses_too` Host may be any IP address: DNS rebinding needs a name."""

    def __init__(
        self, own_urls: Sequence[str], *, addresses_too: bool, unchecked_with: str = "with SHUTTLE_TOKENS set"
    ) -> None:
        """`own_urls` are base URLs, or `host[:port]`, which stands for http and https.

        `unchecked_with` names the settings with which callers do not call `check_host`.
        """
        self._origins = {origin for url in own_urls for origin in _origins_of(url)}
        self._hosts = {origin.host for origin in self._origins}
        self._addresses_too = addresses_too
        self._unchecked_with = unchecked_with

    def check_host(self, request: web.Request) -> None:
        """Raises InvalidRequestError (400) unless there is one Host, ForbiddenError (403) if it is not an own name."""
        for authority in _authorities(request):
            origin = _origin("http", authority)
            if origin is None or not self._is_own(origin.host):
                address = "an IP address" if self._addresses_too else "127.0.0.1"
                raise ForbiddenError(
                    f"Call this service at localhost, {address} or a host in BUILD_SHUTTLE_HOST or SHUTTLE_ALIASES;"
                    f" {self._unchecked_with}, any name is accepted.",
                    field="Host",
                )

    def check_origin(self, request: web.Request, *, reading_too: bool) -> None:
        """Raises ForbiddenError (403) if a browser sends a changing request from a page of another site.

        `reading_too` also refuses `cross-site` reads; without it, links on other sites' pages can be followed.
        """
        sites = set(request.headers.getall("Sec-Fetch-Site", []))
        if request.method in _READING:
            if reading_too and "cross-site" in sites:
                raise _foreign("Sec-Fetch-Site")
            return
        if sites - _OWN_SITES:
            raise _foreign("Sec-Fetch-Site")
        own = self._origins | {origin for text in _authorities(request)[:1] if (origin := _origin("http", text))}
        for sent in request.headers.getall(hdrs.ORIGIN, []):
            scheme = _SCHEME.match(sent)
            if scheme is None or _origin(scheme[1].lower(), sent[scheme.end() :]) not in own:
                raise _foreign("Origin")

    def _is_own(self, host: str) -> bool:
        if host in self._hosts or is_loopback(host):
            return True
        return self._addresses_too and is_address(host)


def _authorities(request: web.Request) -> list[str]:
    """The authorities that the request names: that of an absolute target, which takes precedence, and Host.

    Raises InvalidRequestError for several Host headers, and for none in HTTP/1.1, which requires it. HTTP/1.0 may have
    none: no browser uses it.
    """
    hosts = request.headers.getall(hdrs.HOST, [])
    if len(hosts) > 1 or (not hosts and request.version >= HttpVersion11):
        raise InvalidRequestError("Send one Host header.", field="Host")
    scheme = _SCHEME.match(request.raw_path)
    if scheme is None:
        return hosts
    return [re.split(r"[/?#]", request.raw_path[scheme.end() :], maxsplit=1)[0], *hosts]


def _origin(scheme: str, authority: str) -> _Origin | None:
    """The origin, or None if the authority is not `host[:port]`: userinfo is invalid in Host and Origin."""
    match = _AUTHORITY.fullmatch(authority)
    if match is None or int(match[2] or 0) > 65_535:
        return None
    host = match[1].lower().removesuffix(".")
    if host.startswith("["):
        if not is_address(host[1:-1]):
            return None
        host = str(ip_address(host[1:-1]))
    return _Origin(scheme, host, int(match[2]) if match[2] else _DEFAULT_PORTS[scheme])


def _origins_of(url: str) -> Iterator[_Origin]:
    written = _SCHEME.match(url)
    for scheme in (written[1].lower(),) if written else ("http", "https"):
        try:
            authority = urlsplit(url if written else f"{scheme}://{url}").netloc.rpartition("@")[2]
            authority = authority.encode("idna").decode() if not authority.isascii() else authority
        except (ValueError, UnicodeError):
            continue
        origin = _origin(scheme, authority)
        if origin is not None:
            yield origin


def _foreign(field: str) -> ForbiddenError:
    return ForbiddenError("Pages of other sites may not use this service.", field=field)
