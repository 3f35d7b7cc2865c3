"""Resolves host names in threads, so that a name whose server does not answer delays no other name."""

import asyncio
import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from ipaddress import ip_address
from typing import Any

# An entry of `socket.getaddrinfo`: family, kind, protocol, canonical name, address.
AddressInfo = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]
AddressInfos = Sequence[AddressInfo]

# For each `_Speed`; threads are started when needed. A name server that never answers blocks a thread for 10 s or more,
# so these threads are not the ones that read files. A request may name 200 hosts of receivers and sinks: 64 threads
# look up that many new names in four rounds, even if none is answered.
_THREADS = 64
# A name server that works answers in milliseconds; the system repeats an unanswered query after 5 s at the earliest.
_SLOW_SECONDS = 1.0
# Callers may name any number of hosts.
_MAX_REMEMBERED_NAMES = 10_000


class _Speed(Enum):
    """How long the last lookup of a name took; NEW = there was none. Each speed has its own threads."""

    QUICK = "quick"
    NEW = "new"
    SLOW = "slow"


class Lookups:
    """Resolves names. Simultaneous callers that need the same name share one lookup."""

    def __init__(self) -> None:
        self._threads = {
            speed: ThreadPoolExecutor(_THREADS, thread_name_prefix=f"resolve-{speed.value}") for speed in _Speed
        }
        self._speeds: dict[str, _Speed] = {}
        self._running: dict[tuple[str, int, int], asyncio.Future[AddressInfos]] = {}

    async def addresses(self, host: str, port: int, family: int = socket.AF_UNSPEC) -> AddressInfos:
        """Resolve `host`; an IP address needs no lookup. Raises OSError if the name cannot be resolved."""
        if is_address(host):
            return socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
        which = (host, port, family)
        lookup = self._running.get(which)
        if lookup is None:
            threads = self._threads[self._speeds.get(host, _Speed.NEW)]
            lookup = asyncio.get_running_loop().run_in_executor(threads, self._look_up, *which)
            self._running[which] = lookup
            lookup.add_done_callback(lambda done: self._finished(which, done))
        # A cancelled caller does not cancel the lookup, which others may be waiting for.
        return await asyncio.shield(lookup)

    def _look_up(self, host: str, port: int, family: int) -> AddressInfos:
        began_at = time.monotonic()
        try:
            return socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
        finally:
            is_slow = time.monotonic() - began_at > _SLOW_SECONDS
            self._speeds[host] = _Speed.SLOW if is_slow else _Speed.QUICK

    def _finished(self, which: tuple[str, int, int], lookup: asyncio.Future[AddressInfos]) -> None:
        del self._running[which]
        if not lookup.cancelled():
            lookup.exception()  # asyncio warns of an exception that is never retrieved, and all callers may have gone
        if len(self._speeds) > _MAX_REMEMBERED_NAMES:
            self._speeds.clear()

    def close(self) -> None:
        """Shut the threads down without waiting for lookups that still run."""
        for threads in self._threads.values():
            threads.shutdown(wait=False, cancel_futures=True)


def is_address(host: str) -> bool:
    """Whether `host` is an IPv4 or IPv6 address, not a name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
