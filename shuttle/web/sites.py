"""Refuse what a page of another site makes a browser send: to a name of its own (DNS rebinding), or across origins.

A browser on a machine that reaches the service is a way in for every page that it shows. Other clients send whatever
Host and Origin they like; against them there are tokens.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from aiohttp import HttpVersion11, hdrs, web

from shuttle.errors import ForbiddenError, InvalidRequestError
from shuttle.outgoing.lookup import is_address
from shuttle.setting_values import is_loopback

_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{0,5}))?")
_SCHEME = re.compile(r"(https?)://", re.IGNORECASE)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_READING = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})
# What browsers write into Sec-Fetch-Site for a page of ours, and for an address that a person typed.
_OURS = frozenset({"same-origin", "none"})


@dataclass(frozen=True, slots=True)
class _Place:
    """A scheme, a host in lower case without the root's dot, and a port; equal ones are one origin."""

    scheme: str
    host: str
    port: int


class Sites:
    """Knows the names of this service. `addresses_too`: an address in Host is fine, because no page can own one."""

    def __init__(self, own_urls: Sequence[str], *, addresses_too: bool) -> None:
        """`own_urls` are base URLs, or bare `host[:port]` that may be meant for http and https."""
        self._origins = {place for url in own_urls for place in _places_of(url)}
        self._hosts = {place.host for place in self._origins}
        self._addresses_too = addresses_too

    def check_host(self, request: web.Request) -> None:
        """Raises InvalidRequestError (400) unless there is one Host, ForbiddenError (403) if it is no name of ours."""
        for authority in _authorities(request):
            place = _place("http", authority)
            if place is None or not self._is_ours(place.host):
                raise ForbiddenError(
                    "Call this service at localhost, 127.0.0.1 or a host in BUILD_SHUTTLE_HOST or SHUTTLE_ALIASES;"
                    " with SHUTTLE_TOKENS set, any name does.",
                    field="Host",
                )

    def check_origin(self, request: web.Request, *, reading_too: bool) -> None:
        """Raises ForbiddenError (403) if a browser sends a change for a page of another site.

        `reading_too` refuses `cross-site` reads as well; without it, links on other sites' pages can be followed.
        """
        sites = set(request.headers.getall("Sec-Fetch-Site", []))
        if request.method in _READING:
            if reading_too and "cross-site" in sites:
                raise _foreign("Sec-Fetch-Site")
            return
        if sites - _OURS:
            raise _foreign("Sec-Fetch-Site")
        ours = self._origins | {place for text in _authorities(request)[:1] if (place := _place("http", text))}
        for origin in request.headers.getall(hdrs.ORIGIN, []):
            scheme = _SCHEME.match(origin)
            if scheme is None or _place(scheme[1].lower(), origin[scheme.end() :]) not in ours:
                raise _foreign("Origin")

    def _is_ours(self, host: str) -> bool:
        if host in self._hosts or is_loopback(host):
            return True
        return self._addresses_too and is_address(host)


def _authorities(request: web.Request) -> list[str]:
    """What the request is addressed to: the authority of an absolute target, which counts before Host, and Host.

    Raises InvalidRequestError for several Hosts, and for none where HTTP/1.1 requires it. HTTP/1.0 has none: no browser
    speaks it.
    """
    hosts = request.headers.getall(hdrs.HOST, [])
    if len(hosts) > 1 or (not hosts and request.version >= HttpVersion11):
        raise InvalidRequestError("Send one Host header.", field="Host")
    scheme = _SCHEME.match(request.raw_path)
    if scheme is None:
        return hosts
    return [re.split(r"[/?#]", request.raw_path[scheme.end() :], maxsplit=1)[0], *hosts]


def _place(scheme: str, authority: str) -> _Place | None:
    """None = that is not `host[:port]`: userinfo, for example, has no place in Host or Origin."""
    match = _AUTHORITY.fullmatch(authority)
    if match is None or int(match[2] or 0) > 65_535:
        return None
    host = match[1].lower().removesuffix(".")
    if host.startswith("["):
        if not is_address(host[1:-1]):
            return None
        host = str(ip_address(host[1:-1]))
    return _Place(scheme, host, int(match[2]) if match[2] else _DEFAULT_PORTS[scheme])


def _places_of(url: str) -> Iterator[_Place]:
    written = _SCHEME.match(url)
    for scheme in (written[1].lower(),) if written else ("http", "https"):
        try:
            authority = urlsplit(url if written else f"{scheme}://{url}").netloc.rpartition("@")[2]
            authority = authority.encode("idna").decode() if not authority.isascii() else authority
        except (ValueError, UnicodeError):
            continue
        place = _place(scheme, authority)
        if place is not None:
            yield place


def _foreign(field: str) -> ForbiddenError:
    return ForbiddenError("Pages of other sites may not use this service.", field=field)
