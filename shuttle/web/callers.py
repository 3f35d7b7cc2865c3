"""Who is connected: how many connections there are, of each peer and in all, and which of them may be closed."""

import resource
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from typing import Protocol

# A new connection looks at no more of those that were open before it than this.
_MOST_LOOKED_AT = 64


class IdleConnection(Protocol):
    """What a new connection may take the place of."""

    @property
    def waits_for_head(self) -> bool:
        """Whether no request of it is being received, handled or answered."""

    def drop(self) -> None:
        """End it at once."""


@dataclass(slots=True)
class Peer:
    """One address: how many connections it has, and those without a request, the longest first."""

    open: int = 0
    idle: dict[IdleConnection, None] = field(default_factory=dict)


class Callers:
    """Counts connections. At a limit a new one takes the place of one that has no request, else it is refused.

    So connections that do nothing keep nobody out. Used from one event loop.
    """

    def __init__(self, *, most: int, most_of_a_peer: int) -> None:
        self.most = most
        self.most_of_a_peer = most_of_a_peer
        self.open = 0
        self._peers: dict[str, Peer] = {}
        self._idle: dict[IdleConnection, None] = {}

    def enter(self, name: str) -> bool:
        """Count a connection of the peer; False = it has to be refused, and is not counted."""
        peer = self._peers.get(name)
        if peer is not None and peer.open >= self.most_of_a_peer and not self._make_room(peer.idle):
            return False
        if self.open >= self.most and not self._make_room(self._idle):
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
        """It has no request, from now on."""
        self._peers[name].idle[connection] = self._idle[connection] = None

    def busy(self, connection: IdleConnection, name: str) -> None:
        """It has a request."""
        self._idle.pop(connection, None)
        self._peers[name].idle.pop(connection, None)

    def _make_room(self, idle: dict[IdleConnection, None]) -> bool:
        """Whether one of these could be ended. It is counted until its end is known: a few callbacks later."""
        for connection in _first(idle, _MOST_LOOKED_AT):
            if connection.waits_for_head:
                self._idle.pop(connection, None)
                idle.pop(connection, None)
                connection.drop()
                return True
            # The rest of its body is still being read.
            idle[connection] = idle.pop(connection)
        return False


def _first(idle: dict[IdleConnection, None], count: int) -> Iterator[IdleConnection]:
    return iter([connection for connection, _ in zip(idle, range(count), strict=False)])


def peer_name(address: object) -> str:
    """Whom a connection is counted for: an IPv4 address, or a network /64 of IPv6, which is what one host is given."""
    host = str(address[0]) if isinstance(address, tuple) and address else ""
    if ":" not in host:
        return host
    parsed = IPv6Address(host.partition("%")[0])
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return parsed.packed[:8].hex()


def most_connections(wanted: int) -> int:
    """As many as wanted, at most half of the files that this process may open.

    The other half is the service's own: a log, a connection to Jenkins and one to each receiver for every build.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, soft // 2))
