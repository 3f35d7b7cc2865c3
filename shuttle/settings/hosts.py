"""Parsers for settings that are URLs, hosts or lists of them; each ValueError says what to write, without the value."""

import re
from collections.abc import Iterable
from ipaddress import AddressValueError, IPv6Address, ip_address
from urllib.parse import urlsplit

# Whitespace, control characters, a backslash, and bytes of the environment that are not UTF-8.
_UNUSABLE = re.compile(r"[\s\x00-\x20\x7f-\x9f\\\ud800-\udfff]")
_NAME = re.compile(r"(?!.{254})[A-Za-z0-9_\-]{1,63}(?:\.[A-Za-z0-9_\-]{1,63})*\.?")
_HOST_AND_PORT = re.compile(r"(\[[^\[\]/?#@]*\]|[^\[\]:/?#@]*)(?::([0-9]{1,5}))?")
_LISTENER = re.compile(r"(?:\[([^\[\]]*)\]|([^\[\]:]+)):([0-9]{1,5})")
# Kafka's rule for a topic (org.apache.kafka.common.internals.Topic).
_TOPIC = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._\-]{1,249}")
# Jenkins.checkGoodName of Jenkins' core.
_NO_ITEM_NAME = re.compile(r"[?*\\%!@#$^&|<>\[\]:;\x00-\x1f\x7f-\x9f\ud800-\udfff]")
DEFAULT_CONTROLLER = "default"
_CONTROLLER = re.compile(r"([A-Za-z0-9][A-Za-z0-9.\-]{0,62})=(https?://.*)", re.DOTALL)
_SCHEMES = ("http", "https")


def read_controllers(text: str) -> dict[str, str]:
    """The controllers' base URLs by name, each with a final slash; a single URL without a name is `default`."""
    named = [_CONTROLLER.fullmatch(part.strip()) for part in text.split(",")]
    if len(named) == 1 and named[0] is None:
        named = [_CONTROLLER.fullmatch(f"{DEFAULT_CONTROLLER}={text}")]
    found = {parts[1]: parts[2].rstrip("/") + "/" for parts in named if parts and _is_base_url(parts[2])}
    if len(found) != len(named):
        raise ValueError(
            "write http(s)://[user:api-token@]host[:port]/, an IPv6 address in brackets; several as"
            " name=URL,name=URL with different names of letters, digits, dots and dashes"
        )
    return found


def read_public_url(text: str) -> str:
    """The service's base URL; a host without a scheme gets https, as in the old shuttle."""
    url = text if not text or "://" in text else f"https://{text}"
    if url and not (_is_base_url(url) and "@" not in url):
        raise ValueError(
            "write the base URL of this service as Jenkins sees it: http(s)://host[:port], an IPv6 address in brackets,"
            " without user and query"
        )
    return url.rstrip("/")


def check_aliases(aliases: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse an alias that is neither a base URL nor a bare host: it would match no request."""
    for alias in aliases:
        url = alias if "://" in alias else f"https://{alias}"
        if not _is_base_url(url) or "@" in url:
            raise ValueError(
                "write base URLs like https://shuttle.example.com or host[:port], comma-separated,"
                " an IPv6 address in brackets, without user and query"
            )
    return aliases


def check_hosts(hosts: Iterable[str]) -> None:
    """Refuse what cannot be equal to the `host[:port]` of an image or of a Kafka broker."""
    if not all(_is_host_and_port(host) and host.isascii() for host in hosts):
        raise ValueError("write hosts as host[:port], an IPv6 address in brackets, without scheme, user and path")


def check_registry(text: str) -> str:
    """Refuse a registry with which no image has a valid name."""
    if text and not _is_host_and_port(text.rpartition("://")[2].rpartition("@")[2].rstrip("/")):
        raise ValueError("write the registry as host[:port], an IPv6 address in brackets")
    return text


def check_bind(text: str) -> str:
    """Refuse what is neither one address nor one host name."""
    try:
        ip_address(text)
    except ValueError:
        if not _is_host(text) or text.startswith("["):
            raise ValueError("write one address like 127.0.0.1 or ::1, or a host name") from None
    return text


def check_listener(text: str) -> str:
    """Refuse what is not `host:port`; an IPv6 address is in brackets, and port 0 is any free one."""
    if text:
        host, port = split_listener(text)
        if not 0 <= port <= 65_535:
            raise ValueError("write a port from 0 to 65535")
        check_bind(host)
    return text


def split_listener(text: str) -> tuple[str, int]:
    """Host and port of `host:port`; raises ValueError for another form."""
    parts = _LISTENER.fullmatch(text)
    if parts is None:
        raise ValueError("write host:port, like 0.0.0.0:443, an IPv6 address in brackets")
    return parts[1] or parts[2], int(parts[3])


def check_folder(text: str) -> str:
    """Refuse a path of folders with a name that Jenkins does not allow, or with `.` or `..`."""
    names = text.strip("/").split("/") if text else []
    if any(name in {"", ".", ".."} or name != name.strip() or _NO_ITEM_NAME.search(name) for name in names):
        raise ValueError("write names of Jenkins folders, separated by single slashes")
    return text


def check_topic(text: str) -> str:
    """Refuse a topic that Kafka refuses."""
    if not _TOPIC.fullmatch(text):
        raise ValueError("write a topic of up to 249 letters, digits, dots, dashes and underscores")
    return text


def _is_base_url(url: str) -> bool:
    """Whether it is http(s)://[userinfo@]host[:port][/path]."""
    if _UNUSABLE.search(url) or "?" in url or "#" in url:
        return False
    try:
        parts = urlsplit(url)
        usable_port = parts.port != 0
    except ValueError:  # its text would quote the URL with the userinfo
        return False
    host = parts.netloc.rpartition("@")[2]
    return parts.scheme in _SCHEMES and usable_port and _is_host_and_port(host)


def _is_host_and_port(text: str) -> bool:
    parts = _HOST_AND_PORT.fullmatch(text)
    if parts is None or _UNUSABLE.search(text):
        return False
    host, port = parts.groups()
    return _is_host(host) and (port is None or 1 <= int(port) <= 65_535)


def _is_host(host: str) -> bool:
    if host.startswith("["):
        try:
            # An address with a zone (%) is refused, because a zone has a meaning on one machine only.
            IPv6Address(host[1:-1].replace("%", " "))
        except AddressValueError:
            return False
        return True
    try:
        return _NAME.fullmatch(host if host.isascii() else host.encode("idna").decode()) is not None
    except UnicodeError:
        return False
