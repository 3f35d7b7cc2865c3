"""Sinks whose receiver was away: back soon once it is, without a storm while it is not."""

import asyncio
import time

from shuttle.kafka.clusters import KafkaClusters
from shuttle.sinks.failover import FailoverUploadFactory
from shuttle.sinks.forward import RetryPolicy
from shuttle.sinks.host_recovery import HostRecovery
from shuttle.sinks.http import HttpUploadFactory
from shuttle.sinks.kafka import KafkaUploadFactory
from tests.kafka_broker import HANG_UP, broker
from tests.receivers import Receiver, answering, resetting
from tests.unit.sinks.conftest import Build, Ledger

# What would bring a sink back by its own backoff is too late for any test.
AFTER_HOURS = RetryPolicy(first_delay_seconds=10_000, longest_delay_seconds=10_000)
NEVER = 10_000.0


def logs(build: Build, count: int) -> list[Build]:
    """Further sinks of the same log, each with a ledger of its own, and with the same far ends."""
    return [Build(build.log, build.session, Ledger(), host_recovery=build.host_recovery) for _ in range(count)]


async def test_a_sink_looks_for_its_receiver_long_before_its_pause_is_over(build: Build) -> None:
    build.host_recovery = HostRecovery(probe_seconds=0.01)
    build.log.append(b"one\n")
    build.end()
    async with Receiver(resetting(), resetting(), answering(200)) as receiver:
        await build.carry(receiver.url, AFTER_HOURS)
        assert receiver.exchanges[-1].body == b"one\n"
    assert len(build.ledger.details("failing")) == 2


async def test_all_that_wait_try_again_when_one_is_heard(build: Build) -> None:
    build.host_recovery = HostRecovery(probe_seconds=NEVER)
    build.log.append(b"one\n")
    build.end()
    waiting = logs(build, 20)
    async with Receiver(*[resetting()] * 20, answering(200)) as receiver, Receiver(resetting()) as other:
        carrying = [each.carry(f"{receiver.url}/{place}", AFTER_HOURS) for place, each in enumerate(waiting)]
        elsewhere = build.carry(other.url, AFTER_HOURS)
        await asyncio.gather(*(each.ledger.until("failing") for each in (build, *waiting)))
        await logs(build, 1)[0].carry(receiver.url, AFTER_HOURS)
        await asyncio.gather(*carrying)
        assert len(other.exchanges) == 1
        elsewhere.cancel()


async def test_a_receiver_that_holds_a_log_open_is_well_before_that_log_ends(build: Build) -> None:
    build.host_recovery = HostRecovery(probe_seconds=NEVER)
    build.log.append(b"one\n")
    async with Receiver(resetting(), answering(200)) as receiver:
        waiting = build.carry(f"{receiver.url}/waiting", AFTER_HOURS)
        await build.ledger.until("failing")
        live = logs(build, 1)[0].carry(receiver.url, AFTER_HOURS)
        await receiver.exchange(2)
        assert receiver.exchanges[2].target == "/waiting"
        build.end()
        await asyncio.gather(waiting, live)


async def test_a_dead_receiver_is_looked_for_by_one_at_a_time_however_many_wait(build: Build) -> None:
    build.host_recovery = HostRecovery(probe_seconds=0.05)
    build.log.append(b"one\n")
    build.end()
    waiting = logs(build, 50)
    async with Receiver(*[resetting()] * 100) as receiver:
        began_at = time.monotonic()
        carrying = [each.carry(f"{receiver.url}/{place}", AFTER_HOURS) for place, each in enumerate(waiting)]
        await receiver.exchange(50 + 9)
        assert time.monotonic() - began_at >= 0.05 * 9
        # By turns: none has looked a second time while others have not.
        assert len({exchange.target for exchange in receiver.exchanges[50:60]}) == 10
        for each in carrying:
            each.cancel()


async def test_a_receiver_that_takes_others_logs_is_no_news_twice(build: Build) -> None:
    build.host_recovery = HostRecovery(probe_seconds=NEVER)
    build.log.append(b"one\n")
    build.end()
    async with Receiver(resetting(), answering(200), resetting(), resetting(), answering(200)) as receiver:
        unwelcome = build.carry(f"{receiver.url}/unwelcome", AFTER_HOURS)
        await build.ledger.until("failing")
        first, second, third = logs(build, 3)
        await first.carry(receiver.url, AFTER_HOURS)
        await build.ledger.until("failing", times=2)
        waiting = second.carry(f"{receiver.url}/waits", AFTER_HOURS)
        await second.ledger.until("failing")
        await third.carry(receiver.url, AFTER_HOURS)
        await waiting  # who waits longer is called first: it would have come before this one
        assert [exchange.target for exchange in receiver.exchanges].count("/unwelcome") == 2
        unwelcome.cancel()


async def test_a_cluster_that_was_away_gets_every_log_when_it_took_one(build: Build, kafka: KafkaClusters) -> None:
    build.host_recovery = HostRecovery(probe_seconds=NEVER)
    build.log.append(b"one\n")
    build.end()
    away = True

    async def away_for_a_while(_api: int) -> str | None:
        return HANG_UP if away else None

    async with broker() as running:
        running.answering = away_for_a_while
        waiting = logs(build, 50)
        sender = KafkaUploadFactory(kafka, 5)
        carrying = [each.carry_by(sender, running.url(), AFTER_HOURS) for each in waiting]
        await asyncio.gather(*(each.ledger.until("failing") for each in waiting))
        away = False
        await build.carry_by(sender, running.url(), AFTER_HOURS)
        await asyncio.gather(*carrying)
    assert all(each.ledger.said[-1] == ("done", 4) for each in waiting)


async def test_a_failover_waits_for_any_of_its_members(build: Build, kafka: KafkaClusters) -> None:
    build.host_recovery = HostRecovery(probe_seconds=NEVER)
    build.log.append(b"one\n")
    build.end()
    http = HttpUploadFactory(build.session)
    sender = FailoverUploadFactory({"http": http, "kafka": KafkaUploadFactory(kafka, 5)})
    async with Receiver(resetting()) as first, Receiver(resetting(), answering(200)) as second:
        carrying = build.carry_by(sender, f"failover({first.url}, {second.url})", AFTER_HOURS)
        await build.ledger.until("went_over", times=2)
        await logs(build, 1)[0].carry(second.url, AFTER_HOURS)
        await carrying
        assert len(first.exchanges) == 2
        assert [exchange.body for exchange in second.exchanges[1:]] == [b"one\n"] * 2


async def test_nothing_is_left_behind_of_pauses_that_are_over() -> None:
    """A service that waits for receivers all day must not gather timers for it."""
    host_recovery, loop = HostRecovery(probe_seconds=NEVER), asyncio.get_running_loop()

    def timers() -> list[asyncio.TimerHandle]:
        return [handle for handle in loop._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]

    before = timers()
    await asyncio.gather(*(host_recovery.pause({"one", "other"}, 0.01, wake_on_recovery=True) for _ in range(5)))
    assert timers() == before
