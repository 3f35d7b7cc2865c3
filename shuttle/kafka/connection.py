"""aiokafka's connection to a broker that the operator may not know: checked, and closed at once."""

import asyncio
import struct
from collections.abc import Callable
from typing import Any

from aiohappyeyeballs import start_connection
from aiokafka.conn import AIOKafkaConnection, CloseReason, ScramAuthenticator

from shuttle.kafka.access import UnexpectedAnswerError
from shuttle.outgoing.connector import CheckingResolver

# The largest answer to a sender is that about the topics: up to 60 bytes for each partition, if it has three replicas.
# An answer of this size is decoded in up to 0.8 s, in which nothing else runs.
ANSWER_BYTES = 4 * 2**20
# They take a thread for up to a second. Kafka's default is 4,096.
_SCRAM_ITERATIONS = 1_000_000


class CheckedConnection(AIOKafkaConnection):  # type: ignore[misc] # aiokafka has no types
    """aiokafka's connection; it connects to an address that `resolver` has checked, and has a limit for answers."""

    resolver: CheckingResolver
    answer_bytes: int

    async def connect(self) -> Any:
        """Connect like aiokafka, which calls `create_connection` of its loop with the broker's name."""
        self._loop = _CheckingLoop(asyncio.get_running_loop(), self.resolver)
        return await super().connect()

    @staticmethod
    async def _read(connection_of: Callable[[], "CheckedConnection | None"]) -> None:
        """Read answers like aiokafka, which would buffer what a broker announces: up to 2 GiB.

        As there, the task does not keep the connection, so that one that is lost is closed. Errors close it, too.
        """
        connection = connection_of()
        if connection is None:
            return
        reader, most = connection._reader, connection.answer_bytes  # noqa: SLF001
        del connection
        while True:
            (size,) = struct.unpack(">i", await reader.readexactly(4))
            if size > most:
                raise UnexpectedAnswerError(f"sent an answer above {most // 2**20} MiB; it may want {{wanted}}")
            answer = await reader.readexactly(size)
            connection = connection_of()
            if connection is None:
                return
            connection._handle_frame(answer)  # noqa: SLF001
            del connection

    def authenticator_scram(self) -> ScramAuthenticator:
        """See `_Scram`."""
        return _Scram(
            loop=self._loop,
            sasl_plain_password=self._sasl_plain_password,
            sasl_plain_username=self._sasl_plain_username,
            sasl_mechanism=self._sasl_mechanism,
        )

    def close(self, reason: CloseReason | None = None, exc: BaseException | None = None) -> Any:
        """Close without sending what was not sent yet. aiokafka's `close` would keep it, and the socket, until a broker
        that hangs has read all, and nobody could abort it later: it forgets the transport."""
        transport = self._writer.transport if self._writer is not None else None
        closed = super().close(reason, exc)
        if transport is not None:
            transport.abort()
        return closed


class _Scram(ScramAuthenticator):  # type: ignore[misc]
    """aiokafka's SCRAM, with a limit: by the iterations that a broker names it could occupy threads for minutes."""

    def create_salted_password(self, salt: bytes, iterations: int) -> None:
        """Raise UnexpectedAnswerError above the limit."""
        if iterations > _SCRAM_ITERATIONS:
            raise UnexpectedAnswerError(f"asks for more than {_SCRAM_ITERATIONS:,} iterations of SCRAM")
        super().create_salted_password(salt, iterations)


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
