"""Streams with several chunks in flight: chunks arrive in order, and none overtakes a failed one."""

import asyncio
from itertools import chain, pairwise

import pytest

from shuttle.errors import KafkaUnavailableError
from shuttle.kafka import Record
from shuttle.outgoing.kafka_url import read_kafka_url
from tests.support.kafka_broker import PRODUCE, Broker, broker, held_at

TIMEOUT_SECONDS = 10
# Records of 1 KiB in a chunk: more than half a batch, so that a batch never holds all chunks.
CHUNK = 300


def chunk(number: int) -> list[Record]:
    return [(b"%06d" % (number * CHUNK + step) + b"x" * 1024, []) for step in range(CHUNK)]


def numbers(running: Broker) -> list[int]:
    return [int(value[:6]) for value in running.values]


def stream_to(clusters, running: Broker):
    return clusters.stream(read_kafka_url(running.url(), "test"), b"app/1")


async def put(stream, *numbers: int) -> None:
    for number in numbers:
        await stream.put(chunk(number), TIMEOUT_SECONDS)


async def test_all_chunks_are_in_flight_before_the_first_is_acknowledged(make_clusters):
    async with broker() as running:
        running.answering, released = held_at(PRODUCE)
        stream = stream_to(make_clusters(), running)
        await put(stream, *range(6))
        await running.until(lambda: PRODUCE in running.asked)
        released.set()
        for _ in range(6):
            await stream.acknowledged(TIMEOUT_SECONDS)
        assert numbers(running) == list(range(6 * CHUNK))
        assert running.asked.count(PRODUCE) < 6


async def test_chunks_after_a_failed_batch_are_not_sent(make_clusters):
    async with broker() as running:
        refusals = [87]  # INVALID_RECORD: not retried by the client

        async def refuse_once(api: int) -> int | None:
            return refusals.pop() if api == PRODUCE and refusals else None

        running.answering = refuse_once
        clusters = make_clusters()
        stream = stream_to(clusters, running)
        await put(stream, *range(6))
        with pytest.raises(KafkaUnavailableError):
            await stream.acknowledged(TIMEOUT_SECONDS)
        await put(stream, 6)
        with pytest.raises(KafkaUnavailableError):
            await stream.acknowledged(TIMEOUT_SECONDS)
        stream.close()
        assert not running.values
        again = stream_to(clusters, running)
        await put(again, *range(7))
        for _ in range(7):
            await again.acknowledged(TIMEOUT_SECONDS)
        assert numbers(running) == list(range(7 * CHUNK))


async def test_closed_stream_leaves_no_gap_in_the_topic(make_clusters):
    async with broker() as running:
        running.answering, released = held_at(PRODUCE)
        clusters = make_clusters()
        stream = stream_to(clusters, running)
        await put(stream, *range(6))
        await running.until(lambda: PRODUCE in running.asked)
        with pytest.raises(KafkaUnavailableError):
            await stream.acknowledged(0.05)
        stream.close()
        again = stream_to(clusters, running)
        await put(again, *range(3))
        released.set()
        for _ in range(3):
            await again.acknowledged(TIMEOUT_SECONDS)
        arrived = numbers(running)
        assert arrived[-3 * CHUNK :] == list(range(3 * CHUNK))
        assert all(later <= earlier + 1 for earlier, later in pairwise(chain([-1], arrived)))


async def test_batches_shrink_without_changing_the_order(make_clusters):
    async with broker() as running:
        running.max_batch_bytes = 20_000
        stream = stream_to(make_clusters(), running)
        await put(stream, *range(4))
        for _ in range(4):
            await stream.acknowledged(TIMEOUT_SECONDS)
        assert numbers(running) == list(range(4 * CHUNK))


async def test_idle_stream_holds_no_connection_and_can_send_again(make_clusters):
    async with broker() as running:
        stream = stream_to(make_clusters(SHUTTLE_KAFKA_IDLE_SECONDS="0.05"), running)
        await put(stream, 0)
        await stream.acknowledged(TIMEOUT_SECONDS)
        async with asyncio.timeout(10):
            while running.writers:
                await asyncio.sleep(0.01)
        connections = running.connections
        for number in (1, 2):
            await put(stream, number)
            await stream.acknowledged(TIMEOUT_SECONDS)
        assert running.connections > connections
        assert numbers(running) == list(range(3 * CHUNK))


async def test_idle_stream_replaces_a_failed_producer(make_clusters):
    async with broker() as running:
        clusters = make_clusters()
        stream = stream_to(clusters, running)
        await put(stream, 0)
        await stream.acknowledged(TIMEOUT_SECONDS)
        refusals = [87]

        async def refuse_once(api: int) -> int | None:
            return refusals.pop() if api == PRODUCE and refusals else None

        running.answering = refuse_once
        other = stream_to(clusters, running)
        await put(other, 7)
        with pytest.raises(KafkaUnavailableError):
            await other.acknowledged(TIMEOUT_SECONDS)
        other.close()
        await put(stream, 1)
        await stream.acknowledged(TIMEOUT_SECONDS)
        assert numbers(running) == list(range(2 * CHUNK))
