"""Callbacks of the older API: their bodies, when they are sent, and how long they are retried."""

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from shuttle.clock import Clock
from shuttle.store import Topic
from tests.contract.legacy.caller import OK, LegacyApp
from tests.support.inprocess import Shuttle, running_shuttle
from tests.support.receivers import Exchange, Receiver, Script, answering, hanging

pytestmark = pytest.mark.asyncio(loop_scope="module")

STAMP = "0123456789abcdef, verbatim = \t with; odd characters"


def sent_bodies(callback: Receiver) -> list[dict[str, Any]]:
    """The bodies of the completely received requests."""
    return [json.loads(exchange.body) for exchange in callback.exchanges if exchange.ended]


def sent_statuses(callback: Receiver) -> list[str]:
    """The statuses without repetitions."""
    return [word for word, _ in groupby(body["status"] for body in sent_bodies(callback))]


async def until_final(callback: Receiver) -> None:
    """Wait for a final status."""
    async with asyncio.timeout(20):
        await callback.until(lambda: sent_bodies(callback) and sent_bodies(callback)[-1]["status"] != "pending")


async def test_callback_is_sent_with_callback_auth_verbatim(waiting: LegacyApp):
    async with Receiver() as callback:
        await waiting.submit(7, callback=f"{callback.url}/builds/1?x=%20y", callback_auth=STAMP)
        first = await callback.exchange(0)
        await callback.until(lambda: first.ended)
    assert (first.method, first.target) == ("POST", "/builds/1?x=%20y")
    assert first.headers.getall("Authorization") == [STAMP]
    assert first.headers["Content-Type"].startswith("application/json")


@pytest.mark.parametrize("number", [7, "7"])
async def test_pending_is_sent_at_acceptance(waiting: LegacyApp, number: object):
    async with Receiver() as callback:
        await waiting.submit(number, callback=f"{callback.url}/")
        await callback.until(lambda: sent_bodies(callback))
        assert (await waiting.shuttle.build(waiting.path(7)))["state"] in {"recorded", "staging"}
        body = sent_bodies(callback)[0]
    assert body == {"id": number, "type": "jenkins", "building": True, "status": "pending"}
    assert type(body["id"]) is type(number)


@pytest.mark.parametrize(("run", "word"), [("true", "succeeded"), ("false", "failed")])
async def test_pending_and_a_final_status_are_sent(app: LegacyApp, run: str, word: str):
    async with Receiver() as callback:
        await app.submit(7, run, callback=f"{callback.url}/")
        await until_final(callback)
        await app.until(7)
        assert sent_statuses(callback) == ["pending", word]
        final = sent_bodies(callback)[-1]
    assert (final["id"], final["type"], final["building"], final["status"]) == (7, "jenkins", False, word)


async def test_stopped_build_sends_failed_with_the_reason(app: LegacyApp):
    async with Receiver() as callback:
        await app.submit(7, "sleep 300", callback=f"{callback.url}/")
        await app.until(7, "running")
        assert (await app.stop(7)).body == OK
        await until_final(callback)
        final = sent_bodies(callback)[-1]
    assert (final["status"], final["building"], final["reason"]) == ("failed", False, "stopped")


async def test_timed_out_build_sends_failed_with_the_reason(app: LegacyApp, jenkins: Any, tmp_path: Path):
    async with running_shuttle(tmp_path, jenkins.url, TIMEOUT_IN_MS="300") as shuttle, Receiver() as callback:
        app.shuttle = shuttle
        await app.submit(7, "sleep 300", callback=f"{callback.url}/")
        await until_final(callback)
        final = sent_bodies(callback)[-1]
    assert (final["status"], final["building"], final["reason"]) == ("failed", False, "timeout")


async def test_build_that_ends_before_jenkins_sends_pending_first(waiting: LegacyApp):
    async with Receiver() as callback:
        await waiting.submit(7, sources="data:,nothing", callback=f"{callback.url}/")
        await until_final(callback)
        assert sent_statuses(callback) == ["pending", "failed"]


@pytest.mark.slow
async def test_pending_is_never_sent_after_the_final_status(app: LegacyApp):
    """The receiver fails while the build goes through all its states, so that all its statuses are pending at once."""
    failing: list[Script] = [answering(503)] * 4
    async with Receiver(*failing, answering(200)) as callback:
        await app.submit(7, callback=f"{callback.url}/")
        await app.until(7)
        await callback.until(lambda: len(callback.exchanges) > len(failing))
        taken = len(failing)
        async with asyncio.timeout(20):
            await callback.until(
                lambda: len(sent_bodies(callback)) > taken and sent_bodies(callback)[-1]["status"] == "succeeded"
            )
        received = [body["status"] for body in sent_bodies(callback)[taken:]]
    assert received == sorted(received)  # `pending` is sent before `succeeded`
    assert received[0] == "pending"


@pytest.mark.slow
async def test_only_the_three_documented_statuses_are_sent(app: LegacyApp):
    async with Receiver() as callback:
        for number, run in enumerate(("true", "false", "exit 3"), 1):
            await app.submit(number, run, callback=f"{callback.url}/")
        await callback.until(lambda: sum(body["status"] != "pending" for body in sent_bodies(callback)) == 3)
        for body in sent_bodies(callback):
            assert body["status"] in {"pending", "succeeded", "failed"}
            assert body["building"] is (body["status"] == "pending")


@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_permanent_refusal_is_given_up_after_three_attempts(waiting: LegacyApp, status: int):
    async with Receiver(answering(status)) as callback:
        await waiting.submit(7, callback=f"{callback.url}/")
        await given_up(waiting.shuttle, waiting.app_id)
        assert len(callback.exchanges) == 3


async def given_up(shuttle: Shuttle, app_id: str) -> None:
    """Wait until the first status of the app is given up."""
    async with asyncio.timeout(20):
        while not (await shuttle.get(f"/-/deliveries?app_id={app_id}&state=gave_up")).json["deliveries"]:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("status", [500, 502, 302, 400, 429])
async def test_other_failures_are_retried(waiting: LegacyApp, status: int):
    failing: list[Script] = [answering(status)] * 4
    async with Receiver(*failing, answering(200)) as callback:
        await waiting.submit(7, callback=f"{callback.url}/")
        fifth = await callback.exchange(4)
        await callback.until(lambda: fifth.ended)
        assert len({bytes(exchange.body) for exchange in callback.exchanges}) == 1


async def test_callback_is_retried_for_five_and_a_half_hours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Retries 1,000 s apart (up to a tenth later) by a clock that the test controls."""
    ahead = timedelta()
    passing = partial(
        Clock,
        wall=lambda: datetime.now(UTC) + ahead,
        monotonic=lambda: time.monotonic() + ahead.total_seconds(),
    )
    monkeypatch.setattr("shuttle.app.Clock", passing)
    schedule = {"SHUTTLE_WEBHOOK_SCHEDULE_SECONDS": "0" + ",1000" * 9}
    async with Receiver(answering(500)) as callback, running_shuttle(tmp_path, **schedule) as shuttle:
        app = LegacyApp(shuttle)
        await app.submit(7, callback=f"{callback.url}/")
        await attempts(shuttle, app, 1)
        for count, hours in ((2, 2.2), (3, 5.0), (4, 5.4)):
            ahead = timedelta(hours=hours)
            await shuttle.services.database.run(lambda tx: tx.notify(Topic.DELIVERIES))
            await attempts(shuttle, app, count)
            assert len(callback.exchanges) == count
        ahead = timedelta(hours=6)
        await shuttle.services.database.run(lambda tx: tx.notify(Topic.DELIVERIES))
        await given_up(shuttle, app.app_id)
        count = len(callback.exchanges)
        ahead = timedelta(hours=20)  # the build itself is given up after 24 hours
        await shuttle.services.database.run(lambda tx: tx.notify(Topic.DELIVERIES))
        assert not (await shuttle.get(f"/-/deliveries?app_id={app.app_id}&state=pending")).json["deliveries"]
        assert len(callback.exchanges) == count


async def attempts(shuttle: Shuttle, app: LegacyApp, count: int) -> None:
    """Wait until `count` attempts are recorded."""
    async with asyncio.timeout(20):
        while True:
            (delivery,) = (await shuttle.get(f"/-/deliveries?app_id={app.app_id}")).json["deliveries"]
            if delivery["tries"] >= count:
                return
            await asyncio.sleep(0.02)


async def test_callback_auth_is_shown_nowhere(waiting: LegacyApp):
    async with Receiver(answering(403)) as callback:
        await waiting.submit(7, callback=callback.url.replace("://", "://user:callback-password@"), callback_auth=STAMP)
        await given_up(waiting.shuttle, waiting.app_id)
    shown = str(await waiting.shuttle.build(waiting.path(7)))
    shown += (await waiting.shuttle.get(f"/-/deliveries?app_id={waiting.app_id}")).body.decode()
    assert STAMP not in shown
    assert "callback-password" not in shown


async def test_hanging_receiver_does_not_delay_callbacks_of_other_builds(waiting: LegacyApp):
    other = LegacyApp(waiting.shuttle)
    async with Receiver(hanging) as hung, Receiver() as callback:
        await waiting.submit(7, callback=f"{hung.url}/")
        await hung.exchange(0)
        await other.submit(7, callback=f"{callback.url}/")
        exchange: Exchange = await callback.exchange(0)
        await callback.until(lambda: exchange.ended)


@pytest.mark.parametrize("callback", [None, ""])
async def test_build_without_a_callback_sends_none(waiting: LegacyApp, callback: str | None):
    await waiting.submit(7, callback=callback)
    assert (await waiting.shuttle.build(waiting.path(7)))["receivers"] == []
