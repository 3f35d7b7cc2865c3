"""Connections to brokers: to an address that was just checked, and with backoff where the last ones broke."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohappyeyeballs import start_connection
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaError

from shuttle.errors import AddressRefusedError
from shuttle.kafka.access import Access
from shuttle.outgoing.connector import CheckingResolver

# As aiokafka's clients have it by default; brokers close what is idle for 10 minutes.
_IDLE_MS = 540_000
# Kafka's own clients pause for at most 1 s, for each of their brokers; ours are strangers'.
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0
# A connection that breaks this long after the last one that did says nothing about the host.
_FORGET_SECONDS = 30.0
_BROKEN = frozenset((CloseReason.CONNECTION_BROKEN, CloseReason.CONNECTION_TIMEOUT, CloseReason.AUTH_FAILURE))

OnClose = Callable[[AIOKafkaConnection, CloseReason | None], None]


class BrokerConnector:
    """Opens the connections of all clients, so that their hosts are known by their failures. For one event loop."""

    def __init__(self, resolver: CheckingResolver) -> None:
        self._resolver = resolver
        self._failing: dict[tuple[str, int], _Failing] = {}

    def pause_seconds(self, host: str, port: int) -> float:
        """How long to wait before another connection to this broker."""
        failing = self._failing.get((host, port))
        return max(failing.next_at - time.monotonic(), 0) if failing else 0

    async def open(
        self,
        host: str,
        port: int,
        access: Access,
        *,
        request_seconds: float,
        on_close: OnClose | None = None,
    ) -> AIOKafkaConnection:
        """Connect, learn the protocol's versions and present the credentials; at once, whatever the pause.

        Raises:
            AddressRefusedError: the policy forbids every address of the host.
            OSError, EOFError, KafkaError, TimeoutError: see `shuttle.kafka.access.why`.
        """

        def closed(connection: AIOKafkaConnection, reason: CloseReason | None) -> None:
            if reason in _BROKEN:
                self._failed(host, port)
            if on_close is not None:
                on_close(connection, reason)

        connection = _CheckedConnection(
            host,
            port,
            client_id="build-shuttle",
            request_timeout_ms=max(int(request_seconds * 1000), 1),
            max_idle_ms=_IDLE_MS,
            on_close=closed,
            **access.options(),
        )
        connection.resolver = self._resolver
        try:
            await connection.connect()
        except AddressRefusedError:
            raise
        except (OSError, EOFError, KafkaError, TimeoutError):
            self._failed(host, port)
            raise
        return connection

    def _failed(self, host: str, port: int) -> None:
        """Double the pause, once for each connection: two notices of one failure arrive in the same pause."""
        now = time.monotonic()
        self._failing = {
            which: failing for which, failing in self._failing.items() if now - failing.next_at < _FORGET_SECONDS
        }
        failing = self._failing.get((host, port))
        if failing is None:
            self._failing[host, port] = _Failing(_FIRST_PAUSE_SECONDS, now + _FIRST_PAUSE_SECONDS)
        elif failing.next_at <= now:
            failing.pause_seconds = min(failing.pause_seconds * 2, _LONGEST_PAUSE_SECONDS)
            failing.next_at = now + failing.pause_seconds

    async def close(self) -> None:
        """Give the resolver's threads back."""
        await self._resolver.close()


@dataclass(slots=True)
class _Failing:
    """`next_at` is an instant of the monotonic clock."""

    pause_seconds: float
    next_at: float


class _CheckedConnection(AIOKafkaConnection):  # type: ignore[misc] # aiokafka has no types
    """aiokafka's connection, except that it connects to addresses that `resolver` allows, not to a name."""

    resolver: CheckingResolver

    async def connect(self) -> Any:
        """As in aiokafka, which asks its loop to resolve the name and to connect."""
        self._loop = _CheckingLoop(asyncio.get_running_loop(), self.resolver)
        return await super().connect()


class _CheckingLoop:
    """A loop whose `create_connection` resolves a host once, and connects to what was checked.

    TLS still verifies the certificate for the host's name, and sends that (SNI).
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, resolver: CheckingResolver) -> None:
        self._loop = loop
        self._resolver = resolver

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    async def create_connection(self, protocol: Any, host: str, port: int, *, ssl: Any) -> Any:
        connected = await start_connection(await self._resolver.addresses(host, port))
        return await self._loop.create_connection(
            protocol, sock=connected, ssl=ssl, server_hostname=host if ssl else None
        )
