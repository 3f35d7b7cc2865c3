"""Opens connections to brokers at checked addresses; after a failure, says how long to wait before the next one."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaError

from shuttle.errors import AddressRefusedError
from shuttle.kafka.access import Access, not_understood
from shuttle.kafka.connection import ANSWER_BYTES, CheckedConnection
from shuttle.outgoing.connector import CheckingResolver

# The default of aiokafka's clients; brokers close connections that are idle for 10 minutes.
_IDLE_MS = 540_000
# Kafka's own clients wait at most 1 s before they connect to a broker again. These brokers belong to others, so the
# limit is higher.
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0
# If a broker does not fail for this long after a pause, its next failure gets the first pause again.
_FORGET_SECONDS = 30.0
_BROKEN = frozenset((CloseReason.CONNECTION_BROKEN, CloseReason.CONNECTION_TIMEOUT, CloseReason.AUTH_FAILURE))

OnClose = Callable[[AIOKafkaConnection, CloseReason | None], None]


class BrokerConnector:
    """Opens the connections of all Kafka clients in this process, so that they share one backoff per broker.

    It is used from one event loop. A broker that announces an answer of more than `answer_bytes` is disconnected.
    """

    def __init__(self, resolver: CheckingResolver, answer_bytes: int = ANSWER_BYTES) -> None:
        self._resolver = resolver
        self._answer_bytes = answer_bytes
        self._backoffs: dict[tuple[str, int], _Backoff] = {}

    def pause_seconds(self, host: str, port: int) -> float:
        """The seconds to wait before another connection to this broker."""
        backoff = self._backoffs.get((host, port))
        return max(backoff.next_at - time.monotonic(), 0) if backoff else 0

    async def open(
        self,
        host: str,
        port: int,
        access: Access,
        *,
        request_seconds: float,
        on_close: OnClose | None = None,
    ) -> AIOKafkaConnection:
        """Connect, learn the protocol's versions and present the credentials, without waiting for the backoff.

        Raises:
            AddressRefusedError: the policy forbids every address of the host.
            OSError, EOFError, KafkaError, TimeoutError: see `shuttle.kafka.access.describe_fault`.
        """

        def closed(connection: AIOKafkaConnection, reason: CloseReason | None) -> None:
            if reason in _BROKEN:
                self._failed(host, port)
            if on_close is not None:
                on_close(connection, reason)

        connection = CheckedConnection(
            host,
            port,
            client_id="build-shuttle",
            request_timeout_ms=max(int(request_seconds * 1000), 1),
            max_idle_ms=_IDLE_MS,
            on_close=closed,
            **access.options(),
        )
        connection.resolver = self._resolver
        connection.answer_bytes = self._answer_bytes
        try:
            await connection.connect()
        except AddressRefusedError:
            raise
        except (OSError, EOFError, KafkaError, TimeoutError):
            self._failed(host, port)
            raise
        except Exception as error:
            # aiokafka asserts what brokers answer, and does not catch what decoding, SCRAM and odd host names raise.
            self._failed(host, port)
            raise not_understood(error) from error
        return connection

    def _failed(self, host: str, port: int) -> None:
        """Double the pause. A failure that is reported during the pause is the same one, and is ignored."""
        now = time.monotonic()
        self._backoffs = {
            which: backoff for which, backoff in self._backoffs.items() if now - backoff.next_at < _FORGET_SECONDS
        }
        backoff = self._backoffs.get((host, port))
        if backoff is None:
            self._backoffs[host, port] = _Backoff(_FIRST_PAUSE_SECONDS, now + _FIRST_PAUSE_SECONDS)
        elif backoff.next_at <= now:
            backoff.pause_seconds = min(backoff.pause_seconds * 2, _LONGEST_PAUSE_SECONDS)
            backoff.next_at = now + backoff.pause_seconds

    async def close(self) -> None:
        """Release the resolver's threads."""
        await self._resolver.close()


@dataclass(slots=True)
class _Backoff:
    """The backoff of one broker. The pause ends at `next_at` (monotonic clock)."""

    pause_seconds: float
    next_at: float
