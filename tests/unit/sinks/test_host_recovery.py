"""Sinks whose receiver was unavailable: they resume soon after it recovers, and send few requests until then."""

import asyncio
import time

from shuttle.kafka.clusters import KafkaClusters
from shuttle.outgoing.endpoints import EndpointKind
from shuttle.sinks.failover import FailoverUploadFactory
from shuttle.sinks.forward import RetryPolicy
from shuttle.sinks.host_recovery import HostRecovery
from shuttle.sinks.http import HttpUploadFactory
from shuttle.sinks.kafka import KafkaUploadFactory
from tests.support.kafka_broker import HANG_UP, broker
from tests.support.receivers import Receiver, answering, resetting
from tests.unit.sinks.conftest import Build, Ledger

# The delays are longer than any test: only a probe or a success of another log can end one.
AFTER_HOURS = RetryPolicy(first_delay_seconds=10_000, longest_delay_seconds=10_000)
NEVER = 10_000.0


def logs(build: Build, count: int) -> list[Build]:
    """Further sinks of the same log, each with a ledger of its own; they share the host recovery."""
    return [Build(build.log, build.session, Ledger(), host_recovery=build.host_recovery) for _ in range(count)]


async def test_waiting_sink_probes_its_receiver_before_its_delay_is_over(build: Build) -> None:
    build.host_recovery = HostRecovery(probe_seconds=0.01)
    build.log.append(b"one\n")
    build.end()
    async with Receiver(resetting(), resetting(), answering(200)) as receiver:
        await build.forward(receiver.url, AFTER_HOURS)
        assert receiver.exchanges[-1].body == b"one\n"
    assert len(build.ledger.details("failing")) == 2


async def test_all_waiting_sinks_retry_after_one_succeeds(build: Build) -> None:
    build.host_recovery = HostRecovery(probe_seconds=NEVER)
    build.log.append(b"one\n")
    build.end()
    waiting = logs(build, 20)
    async with Receiver(*[resetting()] * 20, answering(200)) as receiver, Receiver(resetting()) as other:
        forwarding = [each.forward(f"{receiver.url}/{place}", AFTER_HOURS) for place, each in enumerate(waiting)]
        elsewhere = build.forward(other.url, AFTER_HOURS)
        await asyncio.gather(*(each.ledger.until("failing") for each in (build, *waiting)))
        await logs(build, 1)[0].forward(receiver.url, AFTER_HOURS)
        await asyncio.gather(*forwarding)
        assert len(other.exchanges) == 1
        elsewhere.cancel()


async def test_receiver_that_accepts_a_running_log_counts_as_recovered(build: Build) -> None:
    build.host_recovery = HostRecovery(probe_seconds=NEVER)
    build.log.append(b"one\n")
    async with Receiver(resetting(), answering(200)) as receiver:
        waiting = build.forward(f"{receiver.url}/waiting", AFTER_HOURS)
        await build.ledger.until("failing")
        live = logs(build, 1)[0].forward(receiver.url, AFTER_HOURS)
        await receiver.exchange(2)
        assert receiver.exchanges[2].target == "/waiting"
        build.end()
        await asyncio.gather(waiting, live)


async def test_waiting_sinks_probe_a_dead_receiver_one_at_a_time(build: Build) -> None:
    build.host_recovery = HostRecovery(probe_seconds=0.05)
    build.log.append(b"one\n")
    build.end()
    waiting = logs(build, 50)
    async with Receiver(*[resetting()] * 100) as receiver:
        began_at = time.monotonic()
        forwarding = [each.forward(f"{receiver.url}/{place}", AFTER_HOURS) for place, each in enumerate(waiting)]
        await receiver.exchange(50 + 9)
        assert time.monotonic() - began_at >= 0.05 * 9
        # In turn: no log has probed a second time before all others have.
        assert len({exchange.target for exchange in receiver.exchanges[50:60]}) == 10
        for each in forwarding:
            each.cancel()


async def test_log_that_fails_again_after_a_recovery_is_not_woken_a_second_time(build: Build) -> None:
    build.host_recovery = HostRecovery(probe_seconds=NEVER)
    build.log.append(b"one\n")
    build.end()
    async with Receiver(resetting(), answering(200), resetting(), resetting(), answering(200)) as receiver:
        rejected = build.forward(f"{receiver.url}/rejected", AFTER_HOURS)
        await build.ledger.until("failing")
        first, second, third = logs(build, 3)
        await first.forward(receiver.url, AFTER_HOURS)
        await build.ledger.until("failing", times=2)
        waiting = second.forward(f"{receiver.url}/waits", AFTER_HOURS)
        await second.ledger.until("failing")
        await third.forward(receiver.url, AFTER_HOURS)
        await waiting  # logs are woken in the order of their pauses: the rejected one would have come first
        assert [exchange.target for exchange in receiver.exchanges].count("/rejected") == 2
        rejected.cancel()


async def test_kafka_cluster_gets_all_waiting_logs_after_one_succeeds(build: Build, kafka: KafkaClusters) -> None:
    build.host_recovery = HostRecovery(probe_seconds=NEVER)
    build.log.append(b"one\n")
    build.end()
    is_down = True

    async def down_for_a_while(_api: int) -> str | None:
        return HANG_UP if is_down else None

    async with broker() as running:
        running.answering = down_for_a_while
        waiting = logs(build, 50)
        sender = KafkaUploadFactory(kafka, 5)
        forwarding = [each.forward_with(sender, running.url(), AFTER_HOURS) for each in waiting]
        await asyncio.gather(*(each.ledger.until("failing") for each in waiting))
        is_down = False
        await build.forward_with(sender, running.url(), AFTER_HOURS)
        await asyncio.gather(*forwarding)
    assert all(each.ledger.calls[-1] == ("done", 4) for each in waiting)


async def test_failover_retries_after_any_of_its_members_recovers(build: Build, kafka: KafkaClusters) -> None:
    build.host_recovery = HostRecovery(probe_seconds=NEVER)
    build.log.append(b"one\n")
    build.end()
    http = HttpUploadFactory(build.session)
    sender = FailoverUploadFactory({EndpointKind.HTTP: http, EndpointKind.KAFKA: KafkaUploadFactory(kafka, 5)})
    async with Receiver(resetting()) as first, Receiver(resetting(), answering(200)) as second:
        forwarding = build.forward_with(sender, f"failover({first.url}, {second.url})", AFTER_HOURS)
        await build.ledger.until("failed_over", times=2)
        await logs(build, 1)[0].forward(second.url, AFTER_HOURS)
        await forwarding
        assert len(first.exchanges) == 2
        assert [exchange.body for exchange in second.exchanges[1:]] == [b"one\n"] * 2


async def test_ended_pauses_leave_no_timers() -> None:
    """Otherwise timers would pile up in a service that waits for receivers all day."""
    host_recovery, loop = HostRecovery(probe_seconds=NEVER), asyncio.get_running_loop()

    def timers() -> list[asyncio.TimerHandle]:
        return [handle for handle in loop._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]

    before = timers()
    await asyncio.gather(*(host_recovery.pause({"one", "other"}, 0.01, wake_on_recovery=True) for _ in range(5)))
    assert timers() == before
