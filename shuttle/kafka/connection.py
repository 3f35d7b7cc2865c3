"""aiokafka's connection to a broker that the operator may not know: checked, and closed at once."""

import asyncio
from typing import Any

from aiohappyeyeballs import start_connection
from aiokafka.conn import AIOKafkaConnection, CloseReason

from shuttle.outgoing.connector import CheckingResolver


class CheckedConnection(AIOKafkaConnection):  # type: ignore[misc] # aiokafka has no types
    """aiokafka's connection; it connects to an address that `resolver` has checked."""

    resolver: CheckingResolver

    async def connect(self) -> Any:
        """Connect like aiokafka, which calls `create_connection` of its loop with the broker's name."""
        self._loop = _CheckingLoop(asyncio.get_running_loop(), self.resolver)
        return await super().connect()

    def close(self, reason: CloseReason | None = None, exc: BaseException | None = None) -> Any:
        """Close without sending what was not sent yet. aiokafka's `close` would keep it, and the socket, until a broker
        that hangs has read all, and nobody could abort it later: it forgets the transport."""
        transport = self._writer.transport if self._writer is not None else None
        closed = super().close(reason, exc)
        if transport is not None:
            transport.abort()
        return closed


class _CheckingLoop:
    """A loop whose `create_connection` resolves a host once and connects to an address that was checked.

    TLS still sends the host's name (SNI) and verifies the certificate against it.
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
