"""Brokers whose answers aiokafka does not expect: the send fails with a reason, and the next one works."""

import io
import struct
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiokafka.protocol.admin import SaslAuthenticateRequest_v0, SaslAuthenticateResponse_v0
from aiokafka.protocol.metadata import MetadataRequest_v1, MetadataResponse_v1
from aiokafka.protocol.produce import ProduceResponse_v3

from shuttle.errors import KafkaUnavailableError
from shuttle.kafka.access import access_to
from shuttle.kafka.connection import ANSWER_BYTES
from shuttle.kafka.connector import BrokerConnector
from shuttle.kafka.topic import messages_of
from shuttle.outgoing.connector import AddressPolicy, CheckingResolver
from shuttle.outgoing.kafka_url import read_kafka_url
from shuttle.settings import load_settings
from tests.support.kafka_broker import (
    AUTHENTICATE,
    HANDSHAKE,
    HANG,
    METADATA,
    PRODUCE,
    PRODUCER_ID,
    VERSIONS,
    Broker,
    Fault,
    broker,
    supporting,
)
from tests.unit.kafka.test_kafka_traps import send

NOT_UNDERSTOOD = "sent an answer that the shuttle does not understand"
USER = "user:s3cret@"


def authenticated(text: bytes) -> Callable[[io.BytesIO], Any]:
    return lambda _request: SaslAuthenticateResponse_v0(0, None, text)


@pytest.mark.parametrize(
    ("api", "answer", "mechanism"),
    [
        (VERSIONS, lambda _: supporting({METADATA: (5, 4)}), "PLAIN"),
        *((VERSIONS, lambda _, api=api: supporting({api: (100, 101)}), "PLAIN") for api in (METADATA, HANDSHAKE)),
        (VERSIONS, lambda _: supporting({PRODUCER_ID: (100, 101)}), "PLAIN"),
        (AUTHENTICATE, authenticated(b"what?"), "PLAIN"),
        (AUTHENTICATE, authenticated(b"e=other-error"), "SCRAM-SHA-256"),
        (AUTHENTICATE, authenticated(b"r=not yours,s=c2FsdA==,i=4096"), "SCRAM-SHA-512"),
        (AUTHENTICATE, authenticated(b"\xff"), "SCRAM-SHA-512"),
    ],
)
async def test_unexpected_answer_to_a_start_is_reported_at_once(make_clusters, api, answer, mechanism):
    async with broker() as running:
        running.mechanisms = [mechanism]
        running.answers[api] = answer
        began = time.monotonic()
        with pytest.raises(KafkaUnavailableError, match=rf"Kafka {running.bootstrap} {NOT_UNDERSTOOD} \(\w+\)\."):
            await send(make_clusters(SHUTTLE_KAFKA_SASL_MECHANISM=mechanism), running.url(userinfo=USER), "a")
        assert time.monotonic() - began < 4


async def test_answers_are_read_up_to_the_limit(make_clusters):
    async with broker() as running:
        extra_bytes = ANSWER_BYTES - 4 - len(supporting({}).encode())
        running.answers[VERSIONS] = lambda _: supporting({}).encode() + bytes(extra_bytes)
        clusters = make_clusters()
        await send(clusters, running.url(), "a")
        assert running.values == [b"a"]


@pytest.mark.parametrize("announced", [ANSWER_BYTES + 1, 2**31 - 1, -1])
async def test_answer_above_the_limit_is_not_waited_for(make_clusters, announced):
    async with broker() as running:
        running.answering = announcing(running, announced)
        began = time.monotonic()
        with pytest.raises(KafkaUnavailableError, match=r"it may want kafka\+ssl://, or a user and a password"):
            await send(make_clusters(), running.url(), "a")
        assert time.monotonic() - began < 4
        running.hung.set()


def announcing(running: Broker, size_bytes: int) -> Callable[[int], Awaitable[Fault]]:
    """Announce an answer of this size, and send none of it."""

    async def answering(_api: int) -> Fault:
        for writer in running.writers:
            writer.write(struct.pack(">i", size_bytes))
        return HANG

    return answering


async def test_iterations_of_scram_have_a_limit(make_clusters, monkeypatch):
    hashed: list[int] = []

    def hashing(_name: str, _password: bytes, _salt: bytes, iterations: int) -> bytes:
        hashed.append(iterations)
        return b"salted"

    monkeypatch.setattr("hashlib.pbkdf2_hmac", hashing)

    def iterating(count: int) -> Callable[[io.BytesIO], Any]:
        def answer(request: io.BytesIO) -> Any:
            nonce = SaslAuthenticateRequest_v0.decode(request).sasl_auth_bytes.partition(b"r=")[2]
            return SaslAuthenticateResponse_v0(0, None, b"r=%bx,s=c2FsdA==,i=%d" % (nonce, count))

        return answer

    async with broker() as running:
        running.mechanisms = ["SCRAM-SHA-512"]
        clusters = make_clusters(SHUTTLE_KAFKA_SASL_MECHANISM="SCRAM-SHA-512")
        running.answers[AUTHENTICATE] = iterating(1_000_001)
        with pytest.raises(KafkaUnavailableError, match="asks for more than 1,000,000 iterations of SCRAM"):
            await send(clusters, running.url(userinfo=USER), "a")
        assert not hashed
        running.answers[AUTHENTICATE] = iterating(1_000_000)
        with pytest.raises(KafkaUnavailableError):
            await send(clusters, running.url(userinfo=USER), "a")
        assert hashed == [1_000_000]


async def test_broker_whose_answers_are_unexpected_is_not_asked_at_once_again(make_clusters):
    async with broker() as running:
        running.answers[VERSIONS] = lambda _: supporting({METADATA: (5, 4)})
        clusters = make_clusters()
        for _ in range(3):
            with pytest.raises(KafkaUnavailableError):
                await send(clusters, running.url(), "a")
        assert clusters._connector.pause_seconds("127.0.0.1", running.port) > 0.2, "the pause has doubled twice"


def described(running: Broker, partitions: list[Any] | None) -> Callable[[io.BytesIO], Any]:
    """Metadata with these partitions of each topic."""

    def answer(request: io.BytesIO) -> Any:
        topics = MetadataRequest_v1.decode(request).topics or []
        return MetadataResponse_v1(
            [(1, *running.advertised, None)], 1, [(0, topic, False, partitions) for topic in topics]
        )

    return answer


@pytest.mark.parametrize(
    ("partitions", "reason"), [(None, NOT_UNDERSTOOD), ([], "says that the topic has no partitions")]
)
async def test_send_works_after_unexpected_metadata(make_clusters, partitions, reason):
    async with broker() as running:
        clusters = make_clusters()
        await send(clusters, running.url("known"), "a")
        running.answers[METADATA] = described(running, partitions)
        with pytest.raises(KafkaUnavailableError, match=reason):
            await send(clusters, running.url("t"), "b", timeout_seconds=3)
        running.answers.clear()
        await send(clusters, running.url("t"), "c", timeout_seconds=3)
        assert running.values == [b"a", b"c"]


@pytest.mark.parametrize("host", ["x" * 70 + ".example", "nul\0.example", ""])
async def test_send_works_after_metadata_with_an_impossible_host(make_clusters, host):
    async with broker() as running:
        right, running.advertised = running.advertised, (host, running.port)
        clusters = make_clusters(SHUTTLE_KAFKA_REQUEST_TIMEOUT_SECONDS="0.6")
        with pytest.raises(KafkaUnavailableError):
            await send(clusters, running.url(), "a", timeout_seconds=3)
        running.advertised = right
        await send(clusters, running.url(), "b", timeout_seconds=3)
        assert running.values == [b"b"]


async def test_unexpected_acknowledgement_is_reported_at_once(make_clusters):
    async with broker() as running:
        running.answers[PRODUCE] = lambda _: ProduceResponse_v3(None, 0)
        clusters = make_clusters(SHUTTLE_KAFKA_REQUEST_TIMEOUT_SECONDS="60")
        with pytest.raises(KafkaUnavailableError, match=NOT_UNDERSTOOD):
            await send(clusters, running.url(), "a", timeout_seconds=3)
        running.answers.clear()
        await send(clusters, running.url(), "b", timeout_seconds=3)
        assert running.values == [b"b"]


@pytest.mark.parametrize("api", [VERSIONS, METADATA])
async def test_unexpected_answer_to_a_reader_is_reported(api):
    async with broker() as running:
        running.answers[VERSIONS] = lambda _: supporting({METADATA: (5, 4) if api == VERSIONS else (100, 101)})
        address = read_kafka_url(running.url(), "test")
        connector = BrokerConnector(CheckingResolver(AddressPolicy(allow_loopback=True)))
        with pytest.raises(KafkaUnavailableError, match=NOT_UNDERSTOOD):
            await anext(messages_of("u", address, access_to(address, load_settings({})), connector, timeout_seconds=1))
        await connector.close()
