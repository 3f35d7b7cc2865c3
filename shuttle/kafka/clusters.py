"""The clusters in use: a producer for each, started when first needed, replaced after failures, closed when idle."""

import asyncio
from collections.abc import Iterable
from functools import partial

from shuttle.errors import KafkaUnavailableError
from shuttle.kafka import Record
from shuttle.kafka.access import Access, access_to
from shuttle.kafka.connector import BrokerConnector
from shuttle.kafka.producer import Producer
from shuttle.kafka.stream import HeldPartitionSender, PartitionStream
from shuttle.outgoing.connector import AddressPolicy, CheckingResolver
from shuttle.outgoing.kafka_url import KafkaAddress, shown_hosts
from shuttle.settings import Settings


class KafkaClusters:
    """See `shuttle.kafka.Kafka`. The logs and statuses of all builds share the producer of a cluster."""

    def __init__(self, policy: AddressPolicy, settings: Settings) -> None:
        self._settings = settings
        self._connector = BrokerConnector(CheckingResolver(policy))
        self._clusters: dict[tuple[frozenset[tuple[str, int]], Access], _Cluster] = {}

    def stream(self, address: KafkaAddress, key: bytes) -> PartitionStream:
        """See `shuttle.kafka.Kafka`."""
        return PartitionStream(partial(self._hold, address, key), key)

    async def _hold(self, address: KafkaAddress, key: bytes, timeout_seconds: float) -> HeldPartitionSender:
        return await self._cluster(address).hold(address.topic, key, timeout_seconds)

    async def send(
        self, address: KafkaAddress, key: bytes, records: Iterable[Record], *, timeout_seconds: float
    ) -> None:
        """See `shuttle.kafka.Kafka`."""
        stream = self.stream(address, key)
        try:
            await stream.put(records, timeout_seconds)
            await stream.acknowledged(timeout_seconds)
        finally:
            stream.close()

    async def check(self, address: KafkaAddress, *, timeout_seconds: float) -> None:
        """Check that the cluster accepts the credentials and has the topic; raises the errors of `send`."""
        await self.send(address, b"", (), timeout_seconds=timeout_seconds)

    def _cluster(self, address: KafkaAddress) -> "_Cluster":
        access = access_to(address, self._settings)
        which = (frozenset(address.hosts), access)
        cluster = self._clusters.get(which)
        if cluster is None:
            # Callers may name any number of clusters, so unused ones are removed.
            self._clusters = {known: each for known, each in self._clusters.items() if each.in_use}
            cluster = self._clusters[which] = _Cluster(address, access, self._connector, self._settings)
        return cluster

    async def close(self) -> None:
        """Abort every connection, within seconds. The senders must have ended."""
        await asyncio.gather(*(cluster.close() for cluster in self._clusters.values()))
        self._clusters.clear()
        await self._connector.close()


class _Cluster:
    """The producer of one cluster. A failed one ends once its other partitions have nothing in flight."""

    def __init__(self, address: KafkaAddress, access: Access, connector: BrokerConnector, settings: Settings) -> None:
        self._address = address
        self._access = access
        self._connector = connector
        self._timeout_seconds = settings.shuttle_kafka_request_timeout_seconds
        self._idle_seconds = settings.shuttle_kafka_idle_seconds
        self._limits: dict[str, int] = {}
        self._waiting = 0
        self._starting: asyncio.Task[Producer] | None = None
        self._sending: dict[Producer, int] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._idle: asyncio.TimerHandle | None = None

    @property
    def in_use(self) -> bool:
        """Whether something is being sent or waits to be sent, or a producer is connected."""
        starting = self._starting
        unconnected = starting is None or (starting.done() and self._unusable(starting))
        return bool(self._waiting or self._sending or self._ending) or not unconnected

    async def hold(self, topic: str, key: bytes, timeout_seconds: float) -> HeldPartitionSender:
        """The key's sender. While it is held, its producer does not become idle and, if it fails, is not ended."""
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        self._waiting += 1
        try:
            producer = await self._producer(deadline)
        finally:
            self._waiting -= 1
        self._enter(producer)
        try:
            left_seconds = max(deadline - asyncio.get_running_loop().time(), 0)
            sender = await producer.sender(topic, key, self._limits, left_seconds)
        except BaseException:
            self._release(producer)
            raise
        return HeldPartitionSender(sender, partial(self._release, producer), partial(self._regain, producer))

    def _regain(self, producer: Producer) -> bool:
        """Count a sender again, if the producer is still usable; returns whether it is."""
        if not producer.usable:
            return False
        self._enter(producer)
        return True

    def _enter(self, producer: Producer) -> None:
        self._sending[producer] = self._sending.get(producer, 0) + 1

    async def _producer(self, deadline: float) -> Producer:
        """The producer in use, or a new one. All callers await the same start, which has a timeout of its own."""
        starting = self._starting
        if starting is not None and starting.done() and self._unusable(starting):
            self._end_if_unused(starting)
            starting = None
        if starting is None:
            starting = self._starting = asyncio.create_task(self._start(), name="kafka start")
        # If it is done, nothing is awaited here: the producer could end before the caller counts itself in (`_enter`).
        if not starting.done():
            left_seconds = max(deadline - asyncio.get_running_loop().time(), 0)
            await asyncio.wait({starting}, timeout=left_seconds)
        if not starting.done():
            raise KafkaUnavailableError(f"Kafka {shown_hosts(self._address)} does not answer.")
        return starting.result()

    def _unusable(self, starting: asyncio.Task[Producer]) -> bool:
        return starting.cancelled() or starting.exception() is not None or not starting.result().usable

    def _end_if_unused(self, starting: asyncio.Task[Producer]) -> None:
        """End a producer that failed after its last sender had released it; otherwise that sender's release ends it."""
        if not starting.cancelled() and starting.exception() is None and starting.result() not in self._sending:
            self._end(starting.result())

    async def _start(self) -> Producer:
        producer = Producer(self._address, self._access, self._connector, self._timeout_seconds)
        await producer.start()
        self._start_idle_timer(producer)
        return producer

    def _release(self, producer: Producer) -> None:
        """Count one sender less. After the last one a failed producer ends, and a usable one becomes idle."""
        self._sending[producer] -= 1
        if self._sending[producer]:
            return
        del self._sending[producer]
        if producer.usable:
            self._start_idle_timer(producer)
        else:
            self._end(producer)

    def _start_idle_timer(self, producer: Producer) -> None:
        """Close the producer if nothing is sent for the idle time."""
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(self._idle_seconds, self._end_idle, producer)

    def _end_idle(self, producer: Producer) -> None:
        if producer not in self._sending:
            producer.retire()
            self._end(producer)

    def _end(self, producer: Producer) -> None:
        task = asyncio.create_task(producer.abort(), name="kafka end")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        starting, self._starting = self._starting, None
        if starting is not None:
            starting.cancel()
            started = await asyncio.gather(starting, return_exceptions=True)
            for producer in {*self._sending, *(each for each in started if isinstance(each, Producer))}:
                self._end(producer)
        await asyncio.gather(*self._ending, return_exceptions=True)
