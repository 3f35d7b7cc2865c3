"""The address of the service: its connection, the part that may be shown, and the redirects that may be followed."""

import http.client
from typing import Mapping, Optional
from urllib.parse import SplitResult, urljoin, urlsplit

from bldst.answers import printable
from bldst.errors import CommandError

_PORTS = {"http": 80, "https": 443}


class Address:
    """An http or https URL."""

    def __init__(self, parts: SplitResult, port: int) -> None:
        self.scheme = parts.scheme
        self.name = parts.hostname or ""
        self.port = port
        self._parts = parts

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Read the configured URL.

        Raises:
            CommandError: It is no http or https URL, or has a user name, a query or a fragment. The message shows only
                the host, because the other parts may contain secrets.
        """
        try:
            parts = urlsplit(url)
            port = parts.port or _PORTS.get(parts.scheme, 0)
        except ValueError:
            raise CommandError("the address of the service is not a URL") from None
        if parts.scheme not in _PORTS or not parts.hostname or not url.isascii() or not url.isprintable() or " " in url:
            raise CommandError("the address of the service must be a URL like https://shuttle.example/-/state")
        if parts.username is not None or parts.password is not None:
            raise CommandError(
                f"the address of the service at {parts.hostname} must not contain a password: use BLDST_API_KEY"
            )
        if parts.query or parts.fragment:
            raise CommandError(f"the address of the service at {parts.hostname} must not have a query")
        return cls(parts, port)

    @property
    def host(self) -> str:
        """The host with its port if that is not the scheme's."""
        name = self.name
        name = f"[{name}]" if ":" in name else name
        return name if self.port == _PORTS[self.scheme] else f"{name}:{self.port}"

    def at(self, path: str) -> "Address":
        """Return the address of a path below this one; the path begins with a slash and may have a query."""
        path, _, query = path.partition("?")
        return Address(self._parts._replace(path=self._parts.path.rstrip("/") + path, query=query), self.port)

    def shown(self) -> str:
        """The URL without its query."""
        return f"{self.scheme}://{self.host}{self._parts.path}"

    def connection(self, environment: Mapping[str, str], timeout_seconds: float) -> http.client.HTTPConnection:
        """Return a connection that is not yet open, through the proxy of the environment if there is one.

        Raises:
            CommandError: The proxy is no http URL.
        """
        name = self.name
        proxy = self._proxy(environment)
        host, port = (proxy.hostname or "", proxy.port or 80) if proxy else (name, self.port)
        if self.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=timeout_seconds)
        connection = http.client.HTTPSConnection(host, port, timeout=timeout_seconds)
        if proxy:
            connection.set_tunnel(name, self.port, _proxy_headers(proxy))
        return connection

    def target(self, environment: Mapping[str, str]) -> str:
        """Return what the request line contains: the path, or for a proxy the URL."""
        path = (self._parts.path or "/") + ("?" + self._parts.query if self._parts.query else "")
        if self.scheme == "http" and self._proxy(environment):
            return "http://" + self.host + path
        return path

    def proxy_headers(self, environment: Mapping[str, str]) -> Mapping[str, str]:
        """Return the proxy's credentials for a request that the proxy reads; a tunnel's are sent when it opens."""
        proxy = self._proxy(environment) if self.scheme == "http" else None
        return _proxy_headers(proxy) if proxy else {}

    def _proxy(self, environment: Mapping[str, str]) -> Optional[SplitResult]:
        """The proxy of the environment, chosen as by curl: HTTP_PROXY in capitals is ignored, HTTPS_PROXY is not."""
        scheme = self.scheme
        url = environment.get(scheme + "_proxy") or (environment.get("HTTPS_PROXY") if scheme == "https" else None)
        if not url or _excluded(self.name, environment):
            return None
        parts = urlsplit(url if "://" in url else "http://" + url)
        if parts.scheme != "http" or not parts.hostname:
            raise CommandError(f"the proxy in {scheme}_proxy must be an http URL")
        return parts

    def follows_to(self, other: "Address") -> bool:
        """Whether a token may be sent to the other address as well: the same server, or the same host by TLS."""
        if self.name != other.name:
            return False
        same_server = self.scheme == other.scheme and self.port == other.port
        return same_server or (self.scheme == "http" and other.scheme == "https")


def redirected_address(origin: Address, location: Optional[str]) -> Address:
    """Return the address that a redirect names.

    Raises:
        CommandError: It is missing, is no URL, or is on another host.
    """
    try:
        parts = urlsplit(urljoin(origin.shown(), location or ""))
        target = Address(parts, parts.port or _PORTS[parts.scheme])
    except (ValueError, KeyError):
        raise CommandError(f"{origin.host} redirects to an address that is no URL") from None
    if not location or not origin.follows_to(target):
        raise CommandError(
            "{} redirects to {}, which must not get the key: if that is the service, set BLDST_API_URL to its "
            "address".format(origin.host, printable(target.host) or "another host")
        )
    return target


def _excluded(host: str, environment: Mapping[str, str]) -> bool:
    names = (environment.get("no_proxy") or environment.get("NO_PROXY") or "").split(",")
    endings = [name.strip().lower().lstrip(".") for name in names if name.strip()]
    return any(ending in ("*", host) or host.endswith("." + ending) for ending in endings)


def _proxy_headers(proxy: SplitResult) -> Mapping[str, str]:
    if not proxy.username:
        return {}
    from base64 import b64encode
    from urllib.parse import unquote

    credentials = "{}:{}".format(unquote(proxy.username), unquote(proxy.password or ""))
    return {"Proxy-Authorization": "Basic " + b64encode(credentials.encode()).decode()}
