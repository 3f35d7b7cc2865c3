"""failover(…): the first member that works gets the log; after a failure the next one continues it in time."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from shuttle.kafka.clusters import KafkaClusters
from shuttle.outgoing.endpoints import EndpointKind
from shuttle.sinks.failover import FailoverUploadFactory
from shuttle.sinks.forward import UploadFactory
from shuttle.sinks.http import HttpUploadFactory
from shuttle.sinks.kafka import KafkaUploadFactory
from tests.support.kafka_broker import HANG, PRODUCE, Broker, black_hole, broker, closed_port
from tests.support.kafka_cluster import kafka_cluster
from tests.support.receivers import Receiver, answering, hanging
from tests.unit.sinks.conftest import Build

DECISION_SECONDS = 0.5


@pytest.fixture
def failover(build: Build, kafka: KafkaClusters) -> FailoverUploadFactory:
    factories: dict[EndpointKind, UploadFactory] = {
        EndpointKind.HTTP: HttpUploadFactory(build.session),
        EndpointKind.KAFKA: KafkaUploadFactory(kafka, 5),
    }
    return FailoverUploadFactory(factories, DECISION_SECONDS)


def messages(running: Broker) -> list[tuple[str, int]]:
    return [(json.loads(value)["message"], int(headers["offset"])) for _, value, headers in running.appended]


@asynccontextmanager
async def dead_member(how: str) -> AsyncIterator[str]:
    """The URL of a Kafka or http member that is dead in this way."""
    if how == "refused":
        yield f"kafka://127.0.0.1:{closed_port()}/t"
    elif how == "unresolvable":
        yield "kafka://no-such-host.invalid/t"
    elif how == "black-holed":
        with black_hole() as port:
            yield f"kafka://127.0.0.1:{port}/t"
    elif how == "black-holed http":
        with black_hole() as port:
            yield f"http://127.0.0.1:{port}/"
    elif how == "hung http":
        async with Receiver(hanging, buffer_bytes=4096) as receiver:
            yield receiver.url
    else:
        async with kafka_cluster() as cluster:
            await cluster.pause()
            yield cluster.url("t")


DEAD = ["refused", "unresolvable", "black-holed", "stopped", "black-holed http", "hung http"]


@pytest.mark.parametrize("how", DEAD)
async def test_dead_first_member_fails_over_within_the_decision_time(
    build: Build, failover: FailoverUploadFactory, how: str
) -> None:
    async with dead_member(how) as dead, broker() as running:
        build.log.append(b"one\ntwo\n")
        build.end()
        began = time.monotonic()
        await build.forward_with(failover, f"failover({dead}, {running.url()})", kind="failover")
        assert time.monotonic() - began < 10, "one attempt takes 30 s without the decision"
    assert messages(running) == [("one", 0), ("two", 4), ("Build finished", 8)]
    (failover_to,) = build.ledger.details("failed_over")
    assert f"Failed over to {running.bootstrap} at offset 0." in str(failover_to)
    assert build.ledger.calls[-1] == ("done", 8)


async def test_working_first_member_gets_the_whole_log(build: Build, failover: FailoverUploadFactory) -> None:
    async with broker() as first, broker() as second:
        build.log.append(b"one\n")
        build.end()
        await build.forward_with(failover, f"failover({first.url()}, {second.url()})", kind="failover")
    assert messages(first) == [("one", 0), ("Build finished", 4)]
    assert not second.connections
    assert not build.ledger.details("failed_over")


async def test_failover_during_a_build_resumes_at_the_first_unacknowledged_line(
    build: Build, failover: FailoverUploadFactory
) -> None:
    async with broker() as first, broker() as second:
        forwarding = build.forward_with(failover, f"failover({first.url()}, {second.url()})", kind="failover")
        build.log.append(b"one\ntwo\n")
        await build.ledger.until("live")

        async def hang(api: int) -> str | None:
            return HANG if api == PRODUCE else None

        first.answering = hang
        build.log.append(b"three\n")
        await second.until(lambda: second.appended)
        first.answering = second.answering
        first.hung.set()
        build.log.append(b"four\n")
        build.end()
        await forwarding
    assert messages(second) == [("three", 8), ("four", 14), ("Build finished", 19)]
    assert messages(first)[:2] == [("one", 0), ("two", 4)]
    assert len(build.ledger.details("failed_over")) == 1


async def test_failover_from_http_sends_the_unacknowledged_log_to_kafka(
    build: Build, failover: FailoverUploadFactory
) -> None:
    async with Receiver(answering(500)) as receiver, broker() as running:
        build.log.append(b"one\ntwo\n")
        build.end()
        await build.forward_with(failover, f"failover({receiver.url}, {running.url()})", kind="failover")
    assert messages(running) == [("one", 0), ("two", 4), ("Build finished", 8)]


async def test_failover_from_kafka_to_http_resumes_at_the_acknowledged_offset(
    build: Build, failover: FailoverUploadFactory
) -> None:
    async with broker() as running, Receiver() as receiver:
        forwarding = build.forward_with(failover, f"failover({running.url()}, {receiver.url})", kind="failover")
        build.log.append(b"one\n")
        await build.ledger.until("live")
        running.answering = refuse
        build.log.append(b"two\n")
        exchange = await receiver.exchange(0)
        build.end()
        await forwarding
        assert exchange.headers["Shuttle-Log-Offset"] == "4"
        assert exchange.body == b"two\n"
    assert messages(running) == [("one", 0)]


async def refuse(api: int) -> int | None:
    return 87 if api == PRODUCE else None


async def test_restart_continues_with_the_member_in_use(build: Build, failover: FailoverUploadFactory) -> None:
    async with broker() as first, broker() as second:
        build.log.append(b"one\ntwo\n")
        build.end()
        url = f"failover({first.url()}, {second.url()})"
        await build.forward_with(failover, url, kind="failover", acked_offset=4, member=1)
    assert messages(second) == [("two", 4), ("Build finished", 8)]
    assert not first.connections


async def test_members_are_tried_again_from_the_first_after_all_have_failed(
    build: Build, failover: FailoverUploadFactory
) -> None:
    port = closed_port()
    url = f"failover(kafka://127.0.0.1:{port}/t, http://127.0.0.1:{closed_port()}/)"
    build.log.append(b"one\n")
    forwarding = build.forward_with(failover, url, kind="failover")
    await build.ledger.until("failed_over", 4)
    async with broker(port=port) as running:
        build.end()
        await forwarding
    assert messages(running) == [("one", 0), ("Build finished", 4)]


async def test_sink_gives_up_only_when_every_member_refuses(build: Build, failover: FailoverUploadFactory) -> None:
    async with Receiver(answering(404)) as one, Receiver(answering(403)) as other:
        build.log.append(b"one\n")
        build.end()
        await build.forward_with(failover, f"failover({one.url}, {other.url})", kind="failover")
        assert build.ledger.calls[-1][0] == "gave_up"
        assert (len(one.exchanges), len(other.exchanges)) == (5, 5)
