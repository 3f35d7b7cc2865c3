"""Looking names up by the system, in threads of its own: names whose servers hang hold up no others."""

import asyncio
import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from ipaddress import ip_address
from typing import Any

# What `socket.getaddrinfo` answers: family, kind, protocol, canonical name, address.
Resolved = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]
Found = Sequence[Resolved]

# A name server that never answers holds a thread for 10 s and more; these are not the threads that read our files.
# Of each kind, begun when they are needed: most of the hosts that one request may name, should all be new and hang.
_THREADS = 64
# One that answers does so in milliseconds; the system asks again after 5 s at the earliest.
_SLOW_SECONDS = 1.0
# Callers may name any number of hosts.
_MOST_KNOWN = 10_000


class _Standing(Enum):
    """How long a name took when it was last looked up: each kind has threads of its own."""

    QUICK = "quick"
    NEW = "new"
    SLOW = "slow"


class Lookups:
    """Names and their addresses, each name looked up once at a time, whoever needs it."""

    def __init__(self) -> None:
        self._threads = {
            standing: ThreadPoolExecutor(_THREADS, thread_name_prefix=f"resolve-{standing.value}")
            for standing in _Standing
        }
        self._standings: dict[str, _Standing] = {}
        self._under_way: dict[tuple[str, int, int], asyncio.Future[Found]] = {}

    async def addresses(self, host: str, port: int, family: int = socket.AF_UNSPEC) -> Found:
        """Where `host` is; an address is answered at once. Raises OSError if the name does not resolve."""
        if is_address(host):
            return socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
        which = (host, port, family)
        lookup = self._under_way.get(which)
        if lookup is None:
            threads = self._threads[self._standings.get(host, _Standing.NEW)]
            lookup = asyncio.get_running_loop().run_in_executor(threads, self._look_up, *which)
            self._under_way[which] = lookup
            lookup.add_done_callback(lambda done: self._over(which, done))
        # Who gives up waiting leaves it to the others.
        return await asyncio.shield(lookup)

    def _look_up(self, host: str, port: int, family: int) -> Found:
        began_at = time.monotonic()
        try:
            return socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
        finally:
            is_slow = time.monotonic() - began_at > _SLOW_SECONDS
            self._standings[host] = _Standing.SLOW if is_slow else _Standing.QUICK

    def _over(self, which: tuple[str, int, int], lookup: asyncio.Future[Found]) -> None:
        del self._under_way[which]
        if not lookup.cancelled():
            lookup.exception()  # told to whoever waits, and that may be nobody by now
        if len(self._standings) > _MOST_KNOWN:
            self._standings.clear()

    def close(self) -> None:
        """Let the threads go; a lookup under way ends by itself."""
        for threads in self._threads.values():
            threads.shutdown(wait=False, cancel_futures=True)


def is_address(host: str) -> bool:
    """Whether it is an IPv4 or IPv6 address, not a name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
