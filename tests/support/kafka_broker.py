"""A Kafka broker over TCP that misbehaves on demand. Each topic has one partition; sent records are kept.

`answering` is called for every request and may wait. It returns:
    None: no fault;  an int: respond with that error code;  HANG: never respond;  HANG_UP: close the connection.
"""

import asyncio
import io
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from aiokafka.protocol.admin import (
    ApiVersionResponse_v0,
    SaslAuthenticateRequest_v0,
    SaslAuthenticateResponse_v0,
    SaslHandShakeRequest_v1,
    SaslHandShakeResponse_v1,
)
from aiokafka.protocol.metadata import MetadataRequest_v1, MetadataResponse_v1
from aiokafka.protocol.offset import OffsetRequest_v1, OffsetResponse_v1
from aiokafka.protocol.produce import ProduceRequest_v3, ProduceResponse_v3
from aiokafka.protocol.transaction import InitProducerIdResponse_v0
from aiokafka.record.memory_records import MemoryRecords

PRODUCE, FETCH, OFFSETS, METADATA, HANDSHAKE, VERSIONS, PRODUCER_ID, AUTHENTICATE = 0, 1, 2, 3, 17, 18, 22, 36
_HIGHEST = {PRODUCE: 3, FETCH: 3, OFFSETS: 1, METADATA: 1, HANDSHAKE: 1, VERSIONS: 0, PRODUCER_ID: 0, AUTHENTICATE: 0}
HANG, HANG_UP = "hang", "hang up"
TOO_LARGE, WRONG_PASSWORD, OTHER_MECHANISM, ILLEGAL_STATE = 10, 58, 33, 34
NO_SUCH_TOPIC, NO_RIGHT_TO_THE_TOPIC, NO_RIGHT_TO_THE_CLUSTER = 3, 29, 31

Fault = int | str | None


async def no_faults(_api: int) -> Fault:
    """No faults."""
    return None


def hanging_at(api: int) -> Callable[[int], Awaitable[Fault]]:
    """Never answer requests of this API."""

    async def answering(asked: int) -> Fault:
        return HANG if asked == api else None

    return answering


def supporting(versions: dict[int, tuple[int, int]], error: Fault = 0) -> Any:
    """The answer of a broker that supports these lowest and highest versions of some APIs."""
    supported = {api: (0, highest) for api, highest in _HIGHEST.items()} | versions
    return ApiVersionResponse_v0(error, [(api, *both) for api, both in supported.items()])


def held_at(api: int) -> tuple[Callable[[int], Awaitable[Fault]], asyncio.Event]:
    """Answer requests of this API only once the returned event is set."""
    released = asyncio.Event()

    async def answering(asked: int) -> Fault:
        if asked == api:
            await released.wait()
        return None

    return answering, released


@dataclass
class Broker:
    """`appended` has (key, value, headers) in the log's order, including duplicates; `credentials` those of clients.

    `led_by` has the topics that another broker leads; this one leads all others. Of a request above `most_read_bytes`
    it reads little, and neither answers nor closes the connection. `answers` replaces the answers of an API: a function
    of the request's body returns the answer's body, or the object that encodes it.
    """

    port: int = 0
    advertised: tuple[str, int] = ("", 0)
    answering: Callable[[int], Awaitable[Fault]] = no_faults
    mechanisms: list[str] = field(default_factory=lambda: ["PLAIN"])
    max_batch_bytes: int = 2**31
    most_read_bytes: int = 2**31
    answers: dict[int, Callable[[io.BytesIO], Any]] = field(default_factory=dict)
    led_by: dict[str, "Broker"] = field(default_factory=dict)
    connections: int = 0
    unread: int = 0
    asked: list[int] = field(default_factory=list)
    appended: list[tuple[bytes, bytes, dict[str, bytes]]] = field(default_factory=list)
    credentials: list[bytes] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    hung: asyncio.Event = field(default_factory=asyncio.Event)
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    def url(self, topic: str = "t", userinfo: str = "", scheme: str = "kafka") -> str:
        return f"{scheme}://{userinfo}{self.bootstrap}/{topic}"

    @property
    def values(self) -> list[bytes]:
        return [value for _, value, _ in self.appended]

    async def until(self, condition: Callable[[], object], seconds: float = 10) -> None:
        """Wait until the condition holds; it is evaluated after every request."""
        async with asyncio.timeout(seconds), self.changed:
            await self.changed.wait_for(condition)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.add(writer)
        try:
            while True:
                (size,) = struct.unpack(">i", await reader.readexactly(4))
                if size > self.most_read_bytes:
                    await self._leave_unread()
                request = io.BytesIO(await reader.readexactly(size))
                api, _version, correlation, client = struct.unpack(">hhih", request.read(10))
                request.read(max(client, 0))
                body = await self._answer(api, request)
                if body is None:
                    return
                answer = struct.pack(">i", correlation) + body
                writer.write(struct.pack(">i", len(answer)) + answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.writers.discard(writer)
            writer.close()

    async def _leave_unread(self) -> None:
        async with self.changed:
            self.unread += 1
            self.changed.notify_all()
        await self.hung.wait()

    async def _answer(self, api: int, request: io.BytesIO) -> bytes | None:
        async with self.changed:
            self.asked.append(api)
            self.changed.notify_all()
        fault = await self.answering(api)
        if fault == HANG:
            await self.hung.wait()
        if fault in {HANG, HANG_UP}:
            return None
        answers = {
            VERSIONS: self._versions,
            METADATA: self._metadata,
            PRODUCE: self._produce,
            OFFSETS: self._offsets,
            PRODUCER_ID: lambda _request, error: InitProducerIdResponse_v0(0, error, 7, 0),
            HANDSHAKE: self._handshake,
            AUTHENTICATE: self._authenticate,
        }
        answer = self.answers[api](request) if api in self.answers else answers[api](request, fault or 0)
        body: bytes = answer if isinstance(answer, bytes) else answer.encode()
        async with self.changed:
            self.changed.notify_all()
        return body

    def _versions(self, _request: io.BytesIO, error: Fault) -> Any:
        return supporting({}, error)

    def _metadata(self, request: io.BytesIO, error: Fault) -> Any:
        topics = MetadataRequest_v1.decode(request).topics or []
        leaders = [self, *self.led_by.values()]
        found = []
        for topic in topics:
            node = leaders.index(self.led_by.get(topic, self)) + 1
            found.append((error, topic, False, [(0, 0, node, [node], [node])] if not error else []))
        nodes = [(node, *leader.advertised, None) for node, leader in enumerate(leaders, start=1)]
        return MetadataResponse_v1(nodes, 1, found)

    def _produce(self, request: io.BytesIO, error: Fault) -> Any:
        answers = []
        for topic, partitions in ProduceRequest_v3.decode(request).topics:
            for partition, batches in partitions:
                code = TOO_LARGE if len(batches) > self.max_batch_bytes else error
                if not code:
                    self._append(batches)
                answers.append((topic, [(partition, code, len(self.appended), -1)]))
        return ProduceResponse_v3(answers, 0)

    def _offsets(self, request: io.BytesIO, error: Fault) -> Any:
        answers = []
        for topic, partitions in OffsetRequest_v1.decode(request).topics:
            ends = [(partition, error, -1, len(self.appended) if at == -1 else 0) for partition, at in partitions]
            answers.append((topic, ends))
        return OffsetResponse_v1(answers)

    def _append(self, batches: bytes) -> None:
        records = MemoryRecords(batches)
        while (batch := records.next_batch()) is not None:
            self.appended += [(record.key, record.value, dict(record.headers)) for record in batch]

    def _handshake(self, request: io.BytesIO, error: Fault) -> Any:
        SaslHandShakeRequest_v1.decode(request)
        return SaslHandShakeResponse_v1(error, self.mechanisms)

    def _authenticate(self, request: io.BytesIO, error: Fault) -> Any:
        self.credentials.append(SaslAuthenticateRequest_v0.decode(request).sasl_auth_bytes)
        return SaslAuthenticateResponse_v0(error, "no such user s3cret" if error else None, b"")


@asynccontextmanager
async def broker(tls: ssl.SSLContext | None = None, port: int = 0) -> AsyncIterator[Broker]:
    """A broker on loopback, without faults until `answering` is set."""
    running = Broker()
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)  # what is not read stays with the sender
    listening.bind(("127.0.0.1", port))
    server = await asyncio.start_server(running.serve, sock=listening, ssl=tls)
    running.port = server.sockets[0].getsockname()[1]
    running.advertised = ("127.0.0.1", running.port)
    try:
        yield running
    finally:
        running.hung.set()
        server.close()
        for writer in list(running.writers):
            writer.transport.abort()
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await server.wait_closed()


@contextmanager
def black_hole() -> Iterator[int]:
    """A port where connecting neither succeeds nor fails, because its queue of connections is full."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(listening.getsockname())
        try:
            yield listening.getsockname()[1]
        finally:
            for each in waiting:
                each.close()


def closed_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
