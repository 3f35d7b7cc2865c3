"""Brokers that refuse, hang or fail: every wait ends with a reason, and the next send works."""

import asyncio
import time
from contextlib import ExitStack

import pytest

from shuttle.errors import KafkaUnavailableError, RecordTooLargeError
from shuttle.kafka import Record
from shuttle.kafka.access import Access
from shuttle.kafka.clusters import KafkaClusters
from shuttle.kafka.connector import BrokerConnector
from shuttle.kafka.topic import messages_of
from shuttle.outgoing.connector import AddressPolicy, CheckingResolver
from shuttle.outgoing.kafka_url import read_kafka_url
from tests.support.kafka_broker import (
    FETCH,
    HANG_UP,
    METADATA,
    PRODUCE,
    PRODUCER_ID,
    VERSIONS,
    Broker,
    black_hole,
    broker,
    closed_port,
    hanging_at,
    held_at,
    no_faults,
)

QUICK = {"SHUTTLE_KAFKA_REQUEST_TIMEOUT_SECONDS": "0.6"}


async def send(clusters: KafkaClusters, url: str, *values: str, timeout_seconds: float = 10) -> None:
    records: list[Record] = [(value.encode(), []) for value in values]
    await clusters.send(read_kafka_url(url, "test"), b"app/1", records, timeout_seconds=timeout_seconds)


async def test_refused_connection_is_reported_at_once_and_the_next_send_connects_again(make_clusters):
    clusters, port = make_clusters(), closed_port()
    began = time.monotonic()
    with pytest.raises(KafkaUnavailableError, match=rf"Kafka 127.0.0.1:{port} cannot be reached .*refused"):
        await send(clusters, f"kafka://127.0.0.1:{port}/t", "a")
    assert time.monotonic() - began < 5
    async with broker(port=port) as running:
        await send(clusters, running.url(), "b")
        assert running.values == [b"b"]


async def test_unresolvable_name_is_reported(make_clusters):
    with pytest.raises(KafkaUnavailableError, match="has a host name that cannot be resolved"):
        await send(make_clusters(), "kafka://no-such-host.invalid/t", "a")


async def test_unresponsive_bootstrap_hosts_cause_no_delay(make_clusters):
    with black_hole() as first, black_hole() as second:
        async with broker() as running:
            began = time.monotonic()
            url = f"kafka://127.0.0.1:{first},127.0.0.1:{second},{running.bootstrap}/t"
            await send(make_clusters(), url, "a")
            assert running.values == [b"a"]
            assert time.monotonic() - began < 8


async def test_several_unresponsive_bootstrap_hosts_share_one_timeout(make_clusters):
    with ExitStack() as stack:
        hosts = ",".join(f"127.0.0.1:{stack.enter_context(black_hole())}" for _ in range(12))
        began = time.monotonic()
        with pytest.raises(KafkaUnavailableError, match="does not answer"):
            await send(make_clusters(**QUICK), f"kafka://{hosts}/t", "a")
        assert 0.5 < time.monotonic() - began < 5, "one after the other they wait for 7.2 s"


@pytest.mark.parametrize("api", [VERSIONS, METADATA, PRODUCER_ID, PRODUCE])
async def test_send_to_a_hung_broker_times_out_and_works_after_its_recovery(make_clusters, api):
    async with broker() as running:
        running.answering = hanging_at(api)
        clusters = make_clusters(**QUICK)
        began = time.monotonic()
        with pytest.raises(KafkaUnavailableError):
            await send(clusters, running.url(), "a")
        assert time.monotonic() - began < 8
        running.answering = no_faults
        running.hung.set()
        await send(clusters, running.url(), "b")
        assert running.values[-1] == b"b"


async def test_caller_sets_the_timeout(make_clusters):
    async with broker() as running:
        running.answering = hanging_at(PRODUCE)
        began = time.monotonic()
        with pytest.raises(KafkaUnavailableError, match="does not answer"):
            await send(
                make_clusters(SHUTTLE_KAFKA_REQUEST_TIMEOUT_SECONDS="60"), running.url(), "a", timeout_seconds=0.3
            )
        assert time.monotonic() - began < 20


async def test_senders_share_a_hung_start_and_each_has_its_own_timeout(make_clusters):
    async with broker() as running:
        running.answering = hanging_at(VERSIONS)
        clusters = make_clusters(SHUTTLE_KAFKA_REQUEST_TIMEOUT_SECONDS="60")
        sends = [send(clusters, running.url(), "a", timeout_seconds=0.2) for _ in range(20)]
        outcomes = await asyncio.gather(*sends, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {KafkaUnavailableError}
        assert running.connections == 1


async def test_hung_broker_does_not_delay_connections_to_others(make_clusters, monkeypatch):
    monkeypatch.setattr("random.choice", min)  # the broker for metadata requests is chosen at random
    monkeypatch.setattr("random.shuffle", list.sort)
    async with broker() as first, broker() as hung, broker() as other:
        clusters = make_clusters(SHUTTLE_KAFKA_REQUEST_TIMEOUT_SECONDS="60")
        await send(clusters, first.url("known"), "a")
        first.led_by = {"of-hung": hung, "of-other": other}
        hung.answering = hanging_at(VERSIONS)
        waiting = asyncio.ensure_future(send(clusters, first.url("of-hung"), "b"))
        await hung.until(lambda: hung.asked)
        began = time.monotonic()
        await send(clusters, first.url("of-other"), "c")
        assert time.monotonic() - began < 10
        assert other.values == [b"c"]
        waiting.cancel()


async def test_close_does_not_wait_for_a_hung_cluster(make_clusters):
    async with broker() as running:
        running.answering = hanging_at(PRODUCE)
        clusters = make_clusters(SHUTTLE_KAFKA_REQUEST_TIMEOUT_SECONDS="60")
        sending = asyncio.ensure_future(send(clusters, running.url(), "a", timeout_seconds=60))
        await running.until(lambda: PRODUCE in running.asked)
        began = time.monotonic()
        await clusters.close()
        assert time.monotonic() - began < 20
        with pytest.raises(KafkaUnavailableError, match="closed"):
            await sending
        running.hung.set()
        await running_without_connections(running)


async def test_retry_after_abandoned_send_may_duplicate_once(make_clusters):
    async with broker() as running:
        running.answering, released = held_at(PRODUCE)
        clusters = make_clusters()
        with pytest.raises(KafkaUnavailableError):
            await send(clusters, running.url(), "1", "2", timeout_seconds=0.2)
        released.set()
        await send(clusters, running.url(), "1", "2", "3")
        assert running.values == [b"1", b"2", b"1", b"2", b"3"]


async def test_abandoned_queued_records_are_not_sent(make_clusters):
    async with broker() as running:
        running.answering, released = held_at(PRODUCE)
        clusters = make_clusters()
        first = asyncio.ensure_future(send(clusters, running.url(), "first"))
        await running.until(lambda: PRODUCE in running.asked)
        with pytest.raises(KafkaUnavailableError):
            await send(clusters, running.url(), "given up", timeout_seconds=0.1)
        released.set()
        await first
        await send(clusters, running.url(), "last")
        assert running.values == [b"first", b"last"]


async def test_batch_with_a_lost_acknowledgement_is_stored_once(make_clusters):
    async with broker() as running:
        lost = False

        async def losing(api: int) -> str | None:
            nonlocal lost
            if api == PRODUCE and not lost:
                lost = True
                return HANG_UP
            return None

        running.answering = losing
        await send(make_clusters(), running.url(), "a", "b")
        assert running.values == [b"a", b"b"]


async def test_queued_records_do_not_overtake_a_failed_batch(make_clusters):
    async with broker() as running:
        failing = True

        async def refuse(api: int) -> int | None:
            return 87 if api == PRODUCE and failing else None  # INVALID_RECORD: not retried by the client

        running.answering = refuse
        clusters = make_clusters()
        outcomes = await asyncio.gather(
            *(send(clusters, running.url(), f"{n}") for n in range(5)), return_exceptions=True
        )
        assert {type(outcome) for outcome in outcomes} == {KafkaUnavailableError}
        assert not running.values
        failing = False
        await send(clusters, running.url(), "after")
        assert running.values == [b"after"]


async def test_batches_shrink_to_the_topics_limit_and_a_too_large_record_fails(make_clusters):
    async with broker() as running:
        running.max_batch_bytes = 2000
        clusters = make_clusters()
        lines = [f"{number} " + "x" * 100 for number in range(100)]
        await send(clusters, running.url(), *lines)
        assert sorted(set(running.values), key=running.values.index) == [line.encode() for line in lines]
        with pytest.raises(RecordTooLargeError, match="accepts no message of this size"):
            await send(clusters, running.url(), "y" * 3000)
        await send(clusters, running.url(), "z")
        assert running.values[-1] == b"z"


async def test_topics_of_a_cluster_share_one_connection_that_is_closed_when_idle(make_clusters):
    async with broker() as running:
        clusters = make_clusters(SHUTTLE_KAFKA_IDLE_SECONDS="0.05")
        await asyncio.gather(*(send(clusters, running.url(topic), "a") for topic in ("logs", "statuses") * 10))
        assert running.connections <= 3  # probe, bootstrap and producer
        await running_without_connections(running)
        before = running.connections
        await send(clusters, running.url("logs"), "b")
        assert running.connections > before


async def running_without_connections(running: Broker) -> None:
    async with asyncio.timeout(5):
        while running.writers:
            await asyncio.sleep(0.01)


async def test_producer_does_not_become_idle_while_a_sender_asks_for_it(make_clusters):
    async with broker() as running:
        clusters = make_clusters()
        await send(clusters, running.url(), "a")
        (cluster,) = clusters._clusters.values()
        producer = cluster._starting.result()
        sending = asyncio.ensure_future(send(clusters, running.url(), "b"))
        await asyncio.sleep(0)
        cluster._end_idle(producer)
        await sending
        assert running.values == [b"a", b"b"]
        assert producer.usable


@pytest.mark.parametrize("is_oversized", [False, True])
async def test_reader_does_not_wait_for_a_topic_that_returns_nothing(make_clusters, monkeypatch, is_oversized):
    monkeypatch.setattr("shuttle.kafka.topic._POLL_MS", 20)
    async with broker() as running:
        await send(make_clusters(), running.url(), "a")
        running.answers[FETCH] = lambda _: bytes(10_000)
        running.answering = no_faults if is_oversized else hanging_at(FETCH)
        address = read_kafka_url(running.url(), "test")
        connector = BrokerConnector(CheckingResolver(AddressPolicy(allow_loopback=True)), answer_bytes=5_000)
        reading = messages_of("u", address, Access(tls=False), connector, timeout_seconds=0.5)
        async with asyncio.timeout(8):
            with pytest.raises(KafkaUnavailableError, match="does not answer"):
                await anext(reading)
        await connector.close()


async def test_unused_clusters_are_removed(make_clusters):
    clusters = make_clusters()
    for _ in range(5):
        with pytest.raises(KafkaUnavailableError):
            await send(clusters, f"kafka://127.0.0.1:{closed_port()}/t", "a")
    assert len(clusters._clusters) == 1


async def test_producer_that_fails_after_its_last_sender_left_is_ended(make_clusters):
    async with broker() as running:
        running.answering = hanging_at(PRODUCE)
        clusters = make_clusters(**QUICK)
        with pytest.raises(KafkaUnavailableError):
            await send(clusters, running.url(), "a", timeout_seconds=0.1)
        (cluster,) = clusters._clusters.values()
        async with asyncio.timeout(5):
            while cluster._starting.result().usable:
                await asyncio.sleep(0.01)
        running.answering = no_faults
        running.hung.set()
        await send(clusters, running.url(), "b")
        await clusters.close()
        await running_without_connections(running)
        await asyncio.sleep(0)
        assert [task for task in asyncio.all_tasks() if "aiokafka" in repr(task.get_coro())] == []
