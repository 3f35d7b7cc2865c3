"""A request to Jenkins and a claim at the same time: the first one counts, and no request outlives the wait."""

import asyncio
from typing import Any

import pytest

from shuttle.errors import JenkinsUnavailableError
from shuttle.lifecycle.claim_race import unless_claimed
from tests.unit.lifecycle.one_build import NUMBER, OneBuild


class Request:
    """A request to Jenkins that is answered when the test says so."""

    def __init__(self) -> None:
        self.sent = asyncio.Event()
        self.answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.cancelled = False

    async def __call__(self) -> str:
        self.sent.set()
        try:
            return await self.answer
        except asyncio.CancelledError:
            self.cancelled = True
            raise


@pytest.fixture
async def request_() -> Request:
    return Request()


@pytest.fixture
async def waiting(one: OneBuild, request_: Request) -> Any:
    """A wait for the answer about a queued build, whose request has been sent."""
    await one.queued(number=NUMBER)
    task = asyncio.create_task(unless_claimed(one.build_uuid, one.services, request_()))
    await request_.sent.wait()
    return task


async def test_answer_is_returned(waiting: Any, request_: Request):
    request_.answer.set_result("the answer")
    assert await waiting == "the answer"


async def test_failure_of_the_request_is_raised(waiting: Any, request_: Request):
    request_.answer.set_exception(JenkinsUnavailableError("Jenkins is out of reach."))
    with pytest.raises(JenkinsUnavailableError):
        await waiting


async def test_claim_cancels_a_request_without_an_answer(
    one: OneBuild, waiting: Any, request_: Request, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("shuttle.lifecycle.claim_race._GRACE_SECONDS", 0.001)
    await one.claim()
    assert await waiting is None
    assert request_.cancelled


async def test_answer_shortly_after_the_claim_is_returned(
    one: OneBuild, waiting: Any, request_: Request, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("shuttle.lifecycle.claim_race._GRACE_SECONDS", 5)
    await one.claim()
    request_.answer.set_result("the queue item")
    assert await waiting == "the queue item"


async def test_failure_after_the_claim_is_ignored(one: OneBuild, waiting: Any, request_: Request):
    await one.claim()
    # Let the wait notice the claim first.
    for _ in range(3):
        await one.row()
    request_.answer.set_exception(JenkinsUnavailableError("Jenkins is out of reach."))
    assert await waiting is None


async def test_other_change_of_the_build_does_not_end_the_wait(
    one: OneBuild, waiting: Any, request_: Request, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("shuttle.lifecycle.claim_race._GRACE_SECONDS", 0)
    one.services.signals.wake(one.build_uuid)
    for _ in range(3):
        await one.row()
    assert not waiting.done()
    request_.answer.set_result("the answer")
    assert await waiting == "the answer"


async def test_claim_whose_signal_was_lost_is_noticed(one: OneBuild, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("shuttle.lifecycle.claim_race._LOST_SIGNAL_SECONDS", 0.01)
    monkeypatch.setattr("shuttle.lifecycle.claim_race._GRACE_SECONDS", 0)
    await one.queued(number=NUMBER)
    monkeypatch.setattr(one.services.signals, "wake", lambda _: None)
    monkeypatch.setattr(one.database._subscriptions, "send", lambda _: None)
    request = Request()
    waiting = asyncio.create_task(unless_claimed(one.build_uuid, one.services, request()))
    await request.sent.wait()
    await one.claim()
    async with asyncio.timeout(5):
        assert await waiting is None


async def test_cancelled_wait_cancels_the_request(waiting: Any, request_: Request):
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert request_.cancelled
