"""The client session for callers' URLs: it checks the IP address of each connection, after the name was resolved."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from shuttle.errors import AddressRefusedError, UnavailableError
from shuttle.outgoing.embedded_ipv4 import embedded_ipv4
from shuttle.outgoing.lenient_client import RESPONSE_LIMITS, LenientConnector
from shuttle.outgoing.lookup import AddressInfo, AddressInfos, Lookups
from shuttle.outgoing.tls import tls_context
from shuttle.settings import Settings

Network = IPv4Network | IPv6Network
IPAddress = IPv4Address | IPv6Address

# Instance metadata outside the link-local ranges: AWS (IPv6), Google (IPv6), Alibaba, Oracle, Azure's WireServer.
_METADATA = frozenset(
    ip_address(text) for text in ("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "192.0.0.192", "168.63.129.16")
)
_BROADCAST = IPv4Address("255.255.255.255")


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """Addresses that outgoing requests may reach: also private networks, but no loopback and no metadata services.

    See docs/contract.md, "Outgoing connections".
    """

    allow_loopback: bool
    """True if the service itself listens on loopback only: then its callers run on this machine, too."""
    allow_networks: Sequence[Network] = ()
    """SHUTTLE_ALLOW_NETWORKS: addresses in these networks are always allowed."""

    def check(self, address: str | IPAddress) -> None:
        """Check an address, and each IPv4 address that an IPv6 address may stand for.

        Raises:
            AddressRefusedError: connecting to it is forbidden.
        """
        parsed = ip_address(address)
        if self._is_exception(parsed):
            return
        for form in (parsed, *(embedded_ipv4(parsed) if isinstance(parsed, IPv6Address) else ())):
            kind = _forbidden_kind(form)
            if kind is not None and not (kind == "loopback" and self.allow_loopback) and not self._is_exception(form):
                raise AddressRefusedError(
                    f"The address {parsed} is {kind}, and the shuttle does not connect to it;"
                    " the operator can allow it in SHUTTLE_ALLOW_NETWORKS."
                )

    def _is_exception(self, address: IPAddress) -> bool:
        return any(address in network for network in self.allow_networks)


def address_policy(settings: Settings) -> AddressPolicy:
    """The policy for callers' URLs."""
    return AddressPolicy(allow_loopback=settings.binds_loopback, allow_networks=settings.shuttle_allow_networks)


def _forbidden_kind(address: IPAddress) -> str | None:
    if address in _METADATA:
        return "a metadata service"
    if address.is_link_local:
        return "link-local"
    if address.is_loopback:
        return "loopback"
    if address.is_unspecified or (isinstance(address, IPv4Address) and address.packed[0] == 0):
        return "unspecified"
    if address.is_multicast or address == _BROADCAST:
        return "no single host"
    return None


@dataclass(slots=True)
class ConnectionUse:
    """Whether a request was sent on a reused connection, which the peer may have closed just before it arrived."""

    reused: bool = False

    def explains(self, error: Exception) -> bool:
        """Whether `error` may only mean that the peer had closed a reused connection: then a new one may work."""
        closed = (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError, ConnectionError)
        return self.reused and isinstance(error, closed)


class CheckingResolver(AbstractResolver):
    """Resolves names with the system's resolver and leaves out the addresses that the policy refuses."""

    def __init__(self, policy: AddressPolicy) -> None:
        self._policy = policy
        self._lookups = Lookups()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The allowed addresses of `host`.

        Raises:
            OSError: the name cannot be resolved.
            AddressRefusedError: it resolves to refused addresses only.
        """
        return [
            ResolveResult(
                hostname=host, host=str(where[0]), port=port, family=found, proto=protocol, flags=socket.AI_NUMERICHOST
            )
            for found, _, protocol, _, where in await self.addresses(host, port, family)
        ]

    async def addresses(self, host: str, port: int, family: socket.AddressFamily = socket.AF_UNSPEC) -> AddressInfos:
        """The allowed addresses in the form of `socket.getaddrinfo`. Raises what `resolve` does."""
        resolved = await self._lookups.addresses(host, port, family)
        allowed: list[AddressInfo] = []
        refusal: AddressRefusedError | None = None
        for info in resolved:
            try:
                self._policy.check(str(info[-1][0]))
            except AddressRefusedError as error:
                refusal = error
            else:
                allowed.append(info)
        if not allowed and refusal is not None:
            raise refusal
        return allowed

    async def close(self) -> None:
        """Shut the threads down without waiting for lookups that still run."""
        self._lookups.close()


def outgoing_session(
    policy: AddressPolicy,
    *,
    ca_file: Path | None = None,
    limit: int = 100,
    limit_per_host: int = 0,
    connect_seconds: float = 10,
) -> aiohttp.ClientSession:
    """Make a client session that connects only to addresses that `policy` allows.

    A request raises AddressRefusedError if the policy forbids the address, or all addresses of the host name. Numbers
    that only the C library reads as an address (`127.1`, `2130706433`) raise aiohttp's InvalidUrlClientError. Redirects
    are not followed: a redirect raises UnavailableError unless the request has `allow_redirects=False`. The session
    has no cookies, no proxy, no settings from the environment and no total timeout; bodies are not decompressed.
    It opens at most `limit` connections, and `limit_per_host` (0 = any number) to one host. A ConnectionUse passed as
    `trace_request_ctx` says after the request whether its connection was reused.
    """

    def checked_socket(address: aiohttp.AddrInfoType) -> socket.socket:
        """Check the address just before each connect. URLs with an address instead of a name are checked only here."""
        family, kind, protocol, _, where = address
        policy.check(str(where[0]))
        return socket.socket(family, kind, protocol)

    connector = LenientConnector(
        resolver=CheckingResolver(policy),
        socket_factory=checked_socket,
        ssl=tls_context(ca_file),
        limit=limit,
        limit_per_host=limit_per_host,
    )
    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(_refuse_redirect)
    trace.on_connection_reuseconn.append(_note_reuse)
    return aiohttp.ClientSession(
        connector=connector,
        trace_configs=[trace],
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_seconds),
        auto_decompress=False,
        trust_env=False,
        **RESPONSE_LIMITS,
    )


async def _refuse_redirect(_session: aiohttp.ClientSession, _context: SimpleNamespace, _redirect: Any) -> None:
    """A redirect could send secret headers to another host, so the code that follows redirects checks each hop."""
    raise UnavailableError("The host answered with a redirect, which is not followed.")


async def _note_reuse(_session: aiohttp.ClientSession, context: SimpleNamespace, _reuse: Any) -> None:
    if isinstance(context.trace_request_ctx, ConnectionUse):
        context.trace_request_ctx.reused = True
