"""Limits of open connections, per peer and in total; idle connections are closed to make room for new ones."""

import resource
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from typing import Protocol

# To make room, at most this many idle connections are examined, so that accepting a connection stays cheap.
_MAX_EXAMINED = 64


class IdleConnection(Protocol):
    """A connection that may be closed in favour of a new one."""

    @property
    def waits_for_head(self) -> bool:
        """Whether no request is being received, handled or answered on it."""

    def drop(self) -> None:
        """Close it at once."""


@dataclass(slots=True)
class Peer:
    """One address: how many connections it has, and which of them have no request, the longest idle first."""

    open: int = 0
    idle: dict[IdleConnection, None] = field(default_factory=dict)


class Callers:
    """Counts connections. At a limit a new one replaces an idle one; if there is none, it is refused.

    So idle connections cannot lock other callers out. Used from one event loop.
    """

    def __init__(self, *, maximum: int, maximum_per_peer: int) -> None:
        self.maximum = maximum
        self.maximum_per_peer = maximum_per_peer
        self.open = 0
        self._peers: dict[str, Peer] = {}
        self._idle: dict[IdleConnection, None] = {}

    def enter(self, name: str) -> bool:
        """Count a connection of the peer. False: it must be refused and is not counted."""
        peer = self._peers.get(name)
        if peer is not None and peer.open >= self.maximum_per_peer and not self._make_room(peer.idle):
            return False
        if self.open >= self.maximum and not self._make_room(self._idle):
            return False
        self.open += 1
        self._peers.setdefault(name, Peer()).open += 1
        return True

    def leave(self, connection: IdleConnection, name: str) -> None:
        """A counted connection has ended."""
        self.busy(connection, name)
        self.open -= 1
        peer = self._peers[name]
        peer.open -= 1
        if peer.open == 0:
            del self._peers[name]

    def idle(self, connection: IdleConnection, name: str) -> None:
        """The connection has no request from now on."""
        self._peers[name].idle[connection] = self._idle[connection] = None

    def busy(self, connection: IdleConnection, name: str) -> None:
        """The connection has a request."""
        self._idle.pop(connection, None)
        self._peers[name].idle.pop(connection, None)

    def _make_room(self, idle: dict[IdleConnection, None]) -> bool:
        """Close one of these connections; False if none can be closed. It is counted until asyncio reports its end."""
        for connection in _first(idle, _MAX_EXAMINED):
            if connection.waits_for_head:
                self._idle.pop(connection, None)
                idle.pop(connection, None)
                connection.drop()
                return True
            # The rest of its last request's body is still being read.
            idle[connection] = idle.pop(connection)
        return False


def _first(idle: dict[IdleConnection, None], count: int) -> Iterator[IdleConnection]:
    return iter([connection for connection, _ in zip(idle, range(count), strict=False)])


def peer_name(address: object) -> str:
    """The peer that a connection is counted for: an IPv4 address, or an IPv6 /64, as one host may own a whole one."""
    host = str(address[0]) if isinstance(address, tuple) and address else ""
    if ":" not in host:
        return host
    parsed = IPv6Address(host.partition("%")[0])
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return parsed.packed[:8].hex()


def connection_limit(wanted: int) -> int:
    """The wanted number of connections, at most half of the files that this process may open.

    The other half is for the service itself: for each build a log, a connection to Jenkins and one to each receiver.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, soft // 2))
