"""Forwarding of logs: after a bug in a sink, and with a spool that cannot be opened."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

import pytest

from shuttle.build import Ending, State
from shuttle.lifecycle.log_forwarding import LogForwarding
from shuttle.logs import LogReader
from shuttle.outgoing.endpoints import EndpointKind
from shuttle.sinks import FinishedAt, Sink, SinkLedger, SinkTarget
from shuttle.store.builds import find_build
from shuttle.store.transitions import finish_build
from tests.support.inprocess import Shuttle, running_shuttle
from tests.support.receivers import Receiver
from tests.support.shuttle_store import endpoint, new_build, record
from tests.unit.lifecycle.one_build import OneBuild

# A build of it fails without Jenkins, with a reason line in its log.
NO_ARCHIVE = "data:,nothing-of-the-kind"


class BuggySink:
    """For the first sink of one build, calls `instead` and then raises an unexpected exception."""

    def __init__(self, sink: Sink, build_id: str, instead: Callable[[SinkTarget, SinkLedger], Awaitable[None]]) -> None:
        self.forwarded: list[SinkTarget] = []
        self._sink = sink
        self._build_id = build_id
        self._instead = instead

    async def forward(self, target: SinkTarget, log: LogReader, ledger: SinkLedger, finished_at: FinishedAt) -> None:
        failing = target.build_id == self._build_id and all(each.build_id != target.build_id for each in self.forwarded)
        self.forwarded.append(target)
        if failing:
            await self._instead(target, ledger)
            raise RuntimeError("a bug")
        await self._sink.forward(target, log, ledger, finished_at)


@pytest.fixture
async def shuttle(tmp_path, monkeypatch):
    monkeypatch.setattr("shuttle.lifecycle.log_forwarding._FAULT_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr("shuttle.lifecycle.log_forwarding._SPOOL_PAUSE_SECONDS", 0.01)
    async with running_shuttle(tmp_path) as running:
        yield running


def use_buggy_sink(
    shuttle: Shuttle, build_id: str, instead: Callable[[SinkTarget, SinkLedger], Awaitable[None]]
) -> BuggySink:
    sinks = cast("dict[EndpointKind, Sink]", shuttle.worker._forwarding._sinks)
    buggy = sinks[EndpointKind.HTTP] = BuggySink(sinks[EndpointKind.HTTP], build_id, instead)
    return buggy


async def post(shuttle: Shuttle, path: str, *receivers: Receiver) -> None:
    hooks = {"logs": [receiver.url for receiver in receivers]}
    answer = await shuttle.post(path, {"source": {"url": NO_ARCHIVE}, "pipeline": "script", "webhooks": hooks})
    assert answer.status == 200, answer.body


async def until_done(shuttle: Shuttle, path: str) -> bytes:
    """Wait until all sinks of the build have its log; returns the log."""
    await shuttle.until_shown(path, lambda build: {sink["state"] for sink in build["sinks"]} == {"done"})
    return await shuttle.whole_log(path)


async def test_a_sink_that_fails_continues_from_its_acknowledged_offset(shuttle: Shuttle):
    async def acknowledge_some(target: SinkTarget, ledger: SinkLedger) -> None:
        await ledger.acknowledged(target.sink_id, 7)

    async with Receiver() as first, Receiver() as second, Receiver() as others:
        buggy = use_buggy_sink(shuttle, "failing", acknowledge_some)
        await post(shuttle, "/app/before", others)
        await post(shuttle, "/app/failing", first, second)
        await post(shuttle, "/app/after", others)
        log = await until_done(shuttle, "/app/failing")
        for path in ("/app/before", "/app/after"):
            await until_done(shuttle, path)
        assert [(each.headers["Shuttle-Log-Offset"], bytes(each.body)) for each in first.exchanges] == [("7", log[7:])]
        assert [bytes(each.body) for each in second.exchanges] == [log]
        assert len(others.exchanges) == 2
    forwarded = [target for target in buggy.forwarded if target.build_id == "failing"]
    assert len(forwarded) == 3
    assert forwarded[0].sink_id == min(target.sink_id for target in forwarded)
    assert forwarded[-1].sink_id == forwarded[0].sink_id


async def test_a_sink_that_fails_after_its_end_is_not_repeated_and_the_spool_is_removed(shuttle: Shuttle):
    async def end(target: SinkTarget, ledger: SinkLedger) -> None:
        await ledger.done(target.sink_id, 7)

    async with Receiver() as receiver:
        buggy = use_buggy_sink(shuttle, "failing", end)
        await post(shuttle, "/app/failing", receiver)
        build = await shuttle.until("/app/failing", "failed")
        await asyncio.gather(*shuttle.worker._forwarding.tasks)
        await shuttle.until_settled(build["build_uuid"])
        assert not receiver.exchanges
    assert len(buggy.forwarded) == 1


async def test_a_sink_waits_for_a_spool_that_cannot_be_opened(shuttle: Shuttle):
    spool = shuttle.data / "spool"
    away = spool.rename(spool.with_name("away"))
    spool.write_text("not a directory")
    async with Receiver() as receiver:
        await post(shuttle, "/app/1", receiver)
        build = await shuttle.until("/app/1", "failed")
        assert build["sinks"][0]["state"] != "done"
        assert not receiver.exchanges
        spool.unlink()
        away.rename(spool)
        log = await until_done(shuttle, "/app/1")
        assert [bytes(each.body) for each in receiver.exchanges] == [log]
    assert log.startswith(b"-----> ")


class WaitingSink:
    """Sends nothing, and waits until it is cancelled."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.finished_at: FinishedAt = lambda: None

    async def forward(self, target: SinkTarget, log: LogReader, ledger: SinkLedger, finished_at: FinishedAt) -> None:
        self.finished_at = finished_at
        self.begun.set()
        await asyncio.Event().wait()


async def test_open_sink_learns_when_its_build_has_ended(one: OneBuild):
    """Its time to finish begins then."""
    vault, sink = one.services.vault, WaitingSink()
    new = new_build(vault, build_id="2", sinks=[endpoint(vault, "http://sink.example/log")])
    await record(one.database, vault, new)
    forwarding = LogForwarding(one.services, {EndpointKind.HTTP: sink})
    forwarding.begin(new.build_uuid)
    async with asyncio.timeout(5):
        await sink.begun.wait()
    assert sink.finished_at() is None
    await one.database.run(finish_build, new.build_uuid, Ending(State.FAILED, "source_not_found", "No."))
    ended = await one.database.run(find_build, new.build_uuid)
    assert ended is not None
    await forwarding.settle(ended)
    assert sink.finished_at() == ended.finished_steady_at is not None
    for task in forwarding.tasks:
        task.cancel()
    await asyncio.gather(*forwarding.tasks, return_exceptions=True)
