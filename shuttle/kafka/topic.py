"""Reads a log back from a topic: one build's lines in order; duplicates have equal offsets."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import TopicAuthorizationFailedError

from shuttle.errors import KafkaUnavailableError, ShuttleError
from shuttle.kafka.access import Access, describe_fault
from shuttle.kafka.bootstrap import probe_bootstrap
from shuttle.kafka.client import CheckedClient
from shuttle.kafka.connector import BrokerConnector
from shuttle.outgoing.kafka_url import KafkaAddress, shown_hosts

_POLL_MS = 1000
# For the connector of a reader: aiokafka asks for 50 MiB at most, and a broker exceeds that for one large batch.
READER_ANSWER_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class LogMessage:
    """A line with its LF, if it had one; `cut`: the topic holds only a part of it. A log's end is a message, too."""

    offset: int
    text: bytes
    cut: bool


async def messages_of(
    build_uuid: str, address: KafkaAddress, access: Access, connector: BrokerConnector, *, timeout_seconds: float
) -> AsyncGenerator[LogMessage, None]:
    """The build's messages that the topic holds now, in order per partition, duplicates included.

    Raises:
        KafkaUnavailableError: the topic cannot be read; the cluster was silent for `timeout_seconds`.
        AddressRefusedError: as for sending.
    """
    async with _reading(address, access, connector, timeout_seconds) as consumer:
        partitions = list(consumer.assignment())
        async with asyncio.timeout(timeout_seconds):
            ends = await consumer.end_offsets(partitions)
        left = {partition for partition in partitions if ends[partition]}
        positions: dict[TopicPartition, int] = {}
        while left:
            # Polls return nothing as long as aiokafka repeats what failed.
            async with asyncio.timeout(timeout_seconds):
                found: dict[TopicPartition, list[ConsumerRecord]] = {}
                before = positions
                while not found and positions == before:
                    found = await consumer.getmany(timeout_ms=_POLL_MS)
                    positions = {partition: await consumer.position(partition) for partition in left}
            for records in found.values():
                for record in records:
                    if dict(record.headers).get("build_uuid") == build_uuid.encode():
                        yield _message(record)
            left = {partition for partition in left if positions[partition] < ends[partition]}


@asynccontextmanager
async def _reading(
    address: KafkaAddress, access: Access, connector: BrokerConnector, timeout_seconds: float
) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer of the whole topic from its beginning, without a group; every wait has a limit."""
    bootstrap = await probe_bootstrap(address, access, connector, timeout_seconds)
    # Half of our timeout, so that the library times out first: its error distinguishes a missing topic from no answer.
    request_seconds = timeout_seconds / 2
    consumer = AIOKafkaConsumer(
        address.topic,
        client_id="build-shuttle",
        group_id=None,
        auto_offset_reset="earliest",
        request_timeout_ms=max(int(request_seconds * 1000), 1),
    )
    faults: list[Exception] = []
    CheckedClient(
        consumer._client,  # noqa: SLF001 - a producer has the same attribute under a public name
        bootstrap,
        connector,
        access,
        request_seconds=request_seconds,
        failed=faults.append,
    )
    try:
        async with asyncio.timeout(timeout_seconds):
            await consumer.start()
        yield consumer
    except TopicAuthorizationFailedError:
        raise KafkaUnavailableError(f"Kafka {shown_hosts(address)} denies reading the topic.") from None
    except ShuttleError:
        raise
    except Exception as error:  # noqa: BLE001 - aiokafka does not catch what unexpected answers cause
        fault = faults[0] if faults else error
        if isinstance(fault, ShuttleError):
            raise fault from None
        raise KafkaUnavailableError(f"Kafka {shown_hosts(address)} {describe_fault(fault, access)}.") from None
    finally:
        await asyncio.wait({asyncio.ensure_future(consumer.stop())}, timeout=timeout_seconds)


def _message(record: ConsumerRecord) -> LogMessage:
    headers = dict(record.headers)
    try:
        line = json.loads(record.value)["message"].encode()
        return LogMessage(int(headers["offset"]), line + (b"" if "no_newline" in headers else b"\n"), "cut" in headers)
    except (ValueError, LookupError, TypeError, AttributeError):
        raise KafkaUnavailableError("The topic holds a message of this build that is not a log line.") from None
