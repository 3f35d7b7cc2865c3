"""aiokafka's producer with a limit for every wait, a check of every address, and an end that does not hang."""

import asyncio
import logging
from collections.abc import MutableMapping
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import CloseReason
from aiokafka.errors import UnknownTopicOrPartitionError
from aiokafka.partitioner import DefaultPartitioner

from shuttle.errors import KafkaUnavailableError, ShuttleError
from shuttle.kafka.access import Access, UnexpectedAnswerError, describe_fault
from shuttle.kafka.batch import Batch
from shuttle.kafka.bootstrap import probe_bootstrap
from shuttle.kafka.client import CheckedClient, report_failure
from shuttle.kafka.connector import BrokerConnector
from shuttle.kafka.partition_sender import PartitionSender
from shuttle.outgoing.kafka_url import KafkaAddress, shown_hosts

# Its warnings quote addresses and repeat every second; the ledger has the errors that matter.
logging.getLogger("aiokafka").addHandler(logging.NullHandler())

# A request times out after our own timeout divided by this, so that another broker is tried before the producer fails.
_REQUESTS_IN_A_TIMEOUT = 3
# Requests that failed because we closed the connection wait for aiokafka's backoff of 0.1 s, perhaps twice.
_END_TURN_SECONDS = 0.12
_END_TURNS = 5
_CLOSE_SECONDS = 5.0
_partition_of = DefaultPartitioner()


class Producer:
    """A producer that is used until one of its senders fails; the other senders then finish their queues.

    It is idempotent, so a failed batch leaves a gap in its partition's sequence, and no later batch is accepted.
    """

    def __init__(
        self, address: KafkaAddress, access: Access, connector: BrokerConnector, timeout_seconds: float
    ) -> None:
        self._address = address
        self._access = access
        self._connector = connector
        self._timeout_seconds = timeout_seconds
        self._producer: AIOKafkaProducer | None = None
        self._connections: CheckedClient | None = None
        self._senders: dict[tuple[str, int], PartitionSender] = {}
        self._retired = False
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        """Connect within the timeout. Raises KafkaUnavailableError or AddressRefusedError and leaves nothing open.

        aiokafka's own start fails at once if connections are refused, but waits forever for a producer id while brokers
        hang.
        """
        request_seconds = self._timeout_seconds / _REQUESTS_IN_A_TIMEOUT
        bootstrap = await probe_bootstrap(self._address, self._access, self._connector, self._timeout_seconds)
        self._producer = AIOKafkaProducer(
            client_id="build-shuttle",
            acks="all",
            enable_idempotence=True,
            request_timeout_ms=max(int(request_seconds * 1000), 1),
        )
        self._connections = CheckedClient(
            self._producer.client,
            bootstrap,
            self._connector,
            self._access,
            request_seconds=request_seconds,
            failed=self._fail,
        )
        try:
            await self._bounded(self._producer.start(), self._timeout_seconds)
            self._producer._sender.sender_task.add_done_callback(self._sending_ended)  # noqa: SLF001
        except Exception as error:  # noqa: BLE001 - aiokafka does not catch what unexpected answers cause
            await self.abort()
            raise self._explain(error) from None
        except BaseException:
            await self.abort()
            raise

    @property
    def usable(self) -> bool:
        """Whether it takes further sends; if not, start another producer."""
        is_working = not self._retired and not self._failure.done()
        return is_working and not any(sender.failed for sender in self._senders.values())

    def retire(self) -> None:
        """Take no further sends."""
        self._retired = True

    async def sender(
        self, topic: str, key: bytes, limits: MutableMapping[str, int], timeout_seconds: float
    ) -> PartitionSender:
        """The sender of the key's partition; `limits` as in PartitionSender. Raises KafkaUnavailableError."""
        producer = self._started()
        cluster = producer.client.cluster
        refreshed_ms = cluster._last_successful_refresh_ms  # noqa: SLF001
        try:
            limit_seconds = min(timeout_seconds, self._timeout_seconds)
            partitions = sorted(await self._bounded(producer.partitions_for(topic), limit_seconds))
        except TimeoutError as error:
            # For a missing topic aiokafka repeats its request longer than most senders wait. If the metadata was
            # refreshed meanwhile, the topic is missing; otherwise the cluster did not answer.
            is_refreshed = cluster._last_successful_refresh_ms != refreshed_ms  # noqa: SLF001
            raise self._explain(UnknownTopicOrPartitionError() if is_refreshed else error) from None
        except Exception as error:  # noqa: BLE001 - as in `start`
            raise self._explain(error) from None
        if not partitions:
            fault = UnexpectedAnswerError("says that the topic has no partitions")
            self._fail(fault)  # aiokafka asks again only after minutes, a new producer at once
            raise self._explain(fault)
        partition = _partition_of(key, partitions, partitions)
        sender = self._senders.get((topic, partition))
        if sender is None:

            async def put(batch: Batch) -> None:
                await self._put(batch, topic, partition)

            sender = self._senders[topic, partition] = PartitionSender(
                topic, put=put, limits=limits, explain=self._explain
            )
        return sender

    async def _put(self, batch: Batch, topic: str, partition: int) -> None:
        """Send and await the acknowledgement, within the timeout: aiokafka never lets an idempotent batch expire."""
        await self._bounded(self._send(batch, topic, partition), self._timeout_seconds)

    async def _send(self, batch: Batch, topic: str, partition: int) -> None:
        await (await self._started().send_batch(batch.builder, topic, partition=partition))

    async def _bounded(self, work: Any, limit_seconds: float) -> Any:
        """The result of `work`, within the limit; a failure of the producer ends it, too."""
        task = asyncio.ensure_future(work)
        try:
            done, _ = await asyncio.wait(
                {task, self._failure}, timeout=limit_seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                raise TimeoutError
            if self._failure in done:
                self._failure.result()
            return await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _explain(self, error: BaseException) -> ShuttleError:
        if isinstance(error, ShuttleError):
            return error
        return KafkaUnavailableError(f"Kafka {shown_hosts(self._address)} {describe_fault(error, self._access)}.")

    def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            raise RuntimeError("Producer.start has not returned")
        return self._producer

    def _fail(self, error: Exception) -> None:
        """End all waits for the cluster: a broker has a refused address, or a task of aiokafka has ended."""
        if not self._failure.done():
            self._failure.set_exception(error)
            self._failure.exception()  # otherwise asyncio logs it as never retrieved if nothing waits for it

    def _sending_ended(self, task: asyncio.Task[None]) -> None:
        """aiokafka lets the batches that were on the wire wait for ever. It raises a KafkaError from the real one."""
        report_failure(lambda error: self._fail(_cause(error)), task)

    async def _close(self, client: AIOKafkaClient) -> None:
        """Close the client. Its connections are closed already; the limit is for what we do not know of."""
        closing = asyncio.ensure_future(client.close())
        await asyncio.wait({closing}, timeout=_CLOSE_SECONDS)
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)

    async def abort(self) -> None:
        """End at once, without waiting for acknowledgements; idempotent.

        aiokafka's `stop` flushes first, so it hangs forever if the cluster is gone.
        """
        self.retire()
        for sender in self._senders.values():
            await sender.close()
        producer, self._producer = self._producer, None
        if producer is None:
            return
        producer._closed = True  # noqa: SLF001 - otherwise its finalizer warns that it was left open
        if self._connections is not None:
            self._connections.close()
        client, sender = producer.client, producer._sender.sender_task  # noqa: SLF001
        if sender is not None:
            sender.cancel()
        for connection in list(client._conns.values()):  # noqa: SLF001
            connection.close(reason=CloseReason.SHUTDOWN)
        await self._close(client)
        for _ in range(_END_TURNS):
            waiting = client._md_update_fut  # noqa: SLF001
            if waiting is not None and not waiting.done():
                waiting.set_result(False)  # the sender's requests wait for metadata that nobody fetches any more
            if sender is None or (await asyncio.wait({sender}, timeout=_END_TURN_SECONDS))[0]:
                return
        sender.cancel()


def _cause(error: Exception) -> Exception:
    return error.__cause__ if isinstance(error.__cause__, Exception) else error
