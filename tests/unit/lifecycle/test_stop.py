"""Stops, time limits and deadlines: in each state of a build, with a Jenkins that obeys, refuses or is away."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from shuttle.build import STOP_ENDINGS, Api, Ending, State, StopCause
from shuttle.errors import JenkinsNotFoundError, JenkinsRefusedError, JenkinsUnavailableError
from shuttle.lifecycle.signals import Listener
from shuttle.lifecycle.stop import enforce, stop_build, stop_pair
from shuttle.standing import Standing
from shuttle.store.transitions import finish_build, record_waiting
from tests.unit.lifecycle.one_build import ITEM, NUMBER, OneBuild

DOWN = JenkinsUnavailableError("Jenkins is out of reach.")
GRACE_SECONDS = 5.0
SILENCE_SECONDS = 60.0


@pytest.fixture
def settings() -> dict[str, str]:
    return {
        "SHUTTLE_STOP_GRACE_SECONDS": str(GRACE_SECONDS),
        "SHUTTLE_AGENT_SILENCE_SECONDS": str(SILENCE_SECONDS),
    }


class Time:
    """The loop's time, which passes only in waits of `enforce`, at once. `meanwhile` is called after each wait."""

    def __init__(self, one: OneBuild, began_at: float) -> None:
        self.one = one
        self.began_at = self.now = began_at
        self.waits: list[float] = []
        self.meanwhile: Callable[[], Awaitable[Any]] | None = None

    @property
    def passed_seconds(self) -> float:
        return self.now - self.began_at

    async def wait(self, seconds: float) -> bool:
        assert len(self.waits) < 200, "enforce does not end"
        self.waits.append(seconds)
        self.now += seconds
        self.one.clock.forward(seconds)
        if self.meanwhile is not None:
            await self.meanwhile()
        return False


@pytest.fixture
def time(one: OneBuild, monkeypatch: pytest.MonkeyPatch) -> Time:
    loop = asyncio.get_event_loop()
    time = Time(one, loop.time())
    monkeypatch.setattr(Listener, "wait", time.wait)
    monkeypatch.setattr(loop, "time", lambda: time.now)
    return time


async def ended(one: OneBuild) -> None:
    await one.database.run(finish_build, one.build_uuid, Ending(State.FAILED, "build_failed", "It failed."))


def commands(one: OneBuild) -> list[str]:
    return [command for _, _, command in one.jenkins.called("stop")]


# --- a stop is recorded


@pytest.mark.parametrize("state", [State.RECORDED, State.STAGING])
async def test_build_that_was_never_triggered_ends_with_its_stop(one: OneBuild, state: State):
    await one.in_state(state)
    stopped = await stop_build(one.build_uuid, StopCause.STOPPED, one.services)
    assert stopped is not None
    assert (stopped.state, stopped.reason) == (State.STOPPED, "stopped")


@pytest.mark.parametrize("state", ["triggered", State.QUEUED, State.RUNNING])
async def test_build_that_jenkins_may_have_is_only_marked_as_stopped(one: OneBuild, state: State | str):
    before = await one.in_state(state)
    stopped = await stop_build(one.build_uuid, StopCause.STOPPED, one.services)
    assert stopped is not None
    assert (stopped.state, stopped.stop_cause) == (before.state, StopCause.STOPPED)


async def test_first_cause_of_a_stop_is_kept(one: OneBuild):
    await one.queued()
    for cause in (StopCause.TIMEOUT, StopCause.STOPPED):
        await stop_build(one.build_uuid, cause, one.services)
    assert (await one.row()).stop_cause is StopCause.TIMEOUT


async def test_ended_build_is_not_stopped(one: OneBuild):
    await ended(one)
    assert await stop_build(one.build_uuid, StopCause.STOPPED, one.services) is None
    assert (await one.row()).state is State.FAILED


async def test_stop_of_a_pair_names_the_api_of_its_build(one: OneBuild):
    assert await stop_pair("app", "1", Standing.CONTROLLER, one.services) is Api.NEW
    assert (await one.row()).state is State.STOPPED


async def test_stop_of_an_ended_or_unknown_pair_stops_nothing(one: OneBuild):
    await ended(one)
    assert await stop_pair("app", "1", Standing.CONTROLLER, one.services) is None
    assert await stop_pair("app", "2", Standing.CONTROLLER, one.services) is None


# --- it is enforced


async def test_nothing_is_stopped_before_a_limit(one: OneBuild, time: Time):
    await one.running()
    time.meanwhile = lambda: ended(one)
    assert await enforce(one.build_uuid, one.services) is None
    assert time.waits == [60.0]
    assert one.jenkins.calls == []


async def test_time_limit_stops_a_running_build(one: OneBuild, time: Time):
    """Its time limit is a minute, counted from its claim."""
    await one.queued(number=NUMBER)
    one.clock.forward(100)
    await one.claim()
    one.clock.forward(30)

    async def end_once_stopped() -> None:
        if commands(one):
            await ended(one)

    time.meanwhile = end_once_stopped
    assert await enforce(one.build_uuid, one.services) is None
    assert time.waits[0] == 30.0
    assert (await one.row()).stop_cause is StopCause.TIMEOUT
    assert commands(one) == ["stop"]


async def test_deadline_stops_a_queued_build(one: OneBuild, time: Time):
    await one.queued(number=NUMBER)
    one.clock.forward(3599)
    assert await enforce(one.build_uuid, one.services) == STOP_ENDINGS[StopCause.DEADLINE]
    assert time.waits[0] == 1.0
    assert (await one.row()).stop_cause is StopCause.DEADLINE


async def test_deadline_gives_up_a_build_after_three_grace_periods(one: OneBuild, time: Time):
    await one.queued(number=NUMBER)
    one.clock.forward(3600)
    assert await enforce(one.build_uuid, one.services) == STOP_ENDINGS[StopCause.DEADLINE]
    assert time.passed_seconds == pytest.approx(3 * GRACE_SECONDS)


async def test_build_of_a_supervisor_that_calls_is_not_given_up(one: OneBuild, time: Time):
    """The build may still run; an ending would let the app's next build overlap with it."""
    await one.queued(number=NUMBER)
    one.clock.forward(3599)
    await one.claim()
    build_log = await one.services.logs.open(one.build_uuid)
    assert build_log is not None

    async def call() -> None:
        if time.passed_seconds < 300:
            build_log.last_call_at = time.now

    time.meanwhile = call
    assert await enforce(one.build_uuid, one.services) == STOP_ENDINGS[StopCause.DEADLINE]
    assert 290 + SILENCE_SECONDS <= time.passed_seconds < 310 + SILENCE_SECONDS
    assert commands(one)[0] == "stop"


@pytest.mark.parametrize("cause", [StopCause.STOPPED, StopCause.TIMEOUT])
async def test_other_stops_wait_for_their_confirmation(one: OneBuild, time: Time, cause: StopCause):
    await one.queued(number=NUMBER)
    await stop_build(one.build_uuid, cause, one.services)

    async def end_late() -> None:
        if time.passed_seconds > 300:
            await ended(one)

    time.meanwhile = end_late
    assert await enforce(one.build_uuid, one.services) is None


@pytest.mark.parametrize("answer", [None, DOWN])
@pytest.mark.parametrize("cause", [StopCause.STOPPED, StopCause.TIMEOUT, StopCause.SPOOL_UNWRITABLE])
async def test_deadline_ends_a_build_whose_earlier_stop_nobody_confirms(
    one: OneBuild, time: Time, cause: StopCause, answer: Exception | None
):
    """Jenkins is gone for good. The build would keep its slot, and its app would build nothing any more."""
    await one.queued(number=NUMBER)
    one.clock.forward(3600 - 60)
    await stop_build(one.build_uuid, cause, one.services)
    one.jenkins.answers("stop", answer)
    assert await enforce(one.build_uuid, one.services) == STOP_ENDINGS[StopCause.DEADLINE]
    assert 59.9 <= time.passed_seconds <= 70  # a sum of fractions


async def test_stop_just_before_the_deadline_has_its_time_to_be_confirmed(one: OneBuild, time: Time):
    await one.queued(number=NUMBER)
    one.clock.forward(3600 - 1)
    await stop_build(one.build_uuid, StopCause.STOPPED, one.services)
    assert await enforce(one.build_uuid, one.services) == STOP_ENDINGS[StopCause.DEADLINE]
    assert time.passed_seconds == pytest.approx(3 * GRACE_SECONDS)


async def test_queue_item_is_cancelled_until_the_build_ends_or_has_a_number(one: OneBuild, time: Time):
    await one.queued()
    await stop_build(one.build_uuid, StopCause.STOPPED, one.services)
    one.jenkins.answers("cancel", DOWN, None)

    async def start_after_two() -> None:
        if len(one.jenkins.called("cancel")) == 3:
            await one.queued(number=NUMBER)
        if one.jenkins.called("stop"):
            await ended(one)

    time.meanwhile = start_after_two
    assert await enforce(one.build_uuid, one.services) is None
    assert one.jenkins.called("cancel") == [[ITEM, one.build_uuid]] * 3
    assert one.jenkins.called("stop") == [["job-of-app", NUMBER, "stop"]]
    assert time.waits[:3] == [0.5] * 3


async def test_build_that_jenkins_does_not_show_yet_is_stopped_once_it_has_a_number(one: OneBuild, time: Time):
    await one.triggered()
    await stop_build(one.build_uuid, StopCause.STOPPED, one.services)

    async def start_after_two() -> None:
        if len(time.waits) == 2:
            await one.queued(number=NUMBER)
        if one.jenkins.called("stop"):
            await ended(one)

    time.meanwhile = start_after_two
    assert await enforce(one.build_uuid, one.services) is None
    assert [call[0] for call in one.jenkins.calls] == ["stop"]


@pytest.mark.parametrize("error", [DOWN, JenkinsNotFoundError("There is no such build.")])
async def test_stop_is_sent_again_until_jenkins_accepts_it(one: OneBuild, time: Time, error: Exception):
    await one.queued(number=NUMBER)
    await stop_build(one.build_uuid, StopCause.STOPPED, one.services)
    one.jenkins.answers("stop", error, error, None)

    async def end_later() -> None:
        if len(time.waits) == 3:
            await ended(one)

    time.meanwhile = end_later
    assert await enforce(one.build_uuid, one.services) is None
    assert commands(one) == ["stop"] * 3
    assert time.waits == [0.5, 0.5, GRACE_SECONDS]


async def test_refused_stop_is_shown_as_what_the_build_waits_for(one: OneBuild, time: Time):
    await one.queued(number=NUMBER)
    await stop_build(one.build_uuid, StopCause.STOPPED, one.services)
    one.jenkins.answers("stop", JenkinsRefusedError("The user needs Job/Cancel.", permission="Job/Cancel"), None)
    shown = []

    async def look() -> None:
        shown.append((await one.row()).waiting_for)
        if len(shown) == 2:
            await ended(one)

    time.meanwhile = look
    assert await enforce(one.build_uuid, one.services) is None
    assert shown[0] == "The user needs Job/Cancel."
    assert commands(one) == ["stop", "stop"]


async def test_refused_stop_is_logged_once_even_if_the_build_waits_for_something_else_meanwhile(
    one: OneBuild, time: Time
):
    await one.queued(number=NUMBER)
    await stop_build(one.build_uuid, StopCause.STOPPED, one.services)
    one.jenkins.answers("stop", JenkinsRefusedError("The user needs Job/Cancel.", permission="Job/Cancel"))

    async def forget() -> None:
        await one.database.run(record_waiting, one.build_uuid, None)
        if len(time.waits) == 5:
            await ended(one)

    time.meanwhile = forget
    with capture_logs() as logged:
        assert await enforce(one.build_uuid, one.services) is None
    assert commands(one) == ["stop"] * 5
    assert [(line["event"], line["error"]) for line in logged] == [
        ("the user in JENKINS_URL lacks a permission", "The user needs Job/Cancel.")
    ]


async def test_ignored_stop_is_followed_by_term_and_kill(one: OneBuild, time: Time):
    """Nobody has claimed the build, so nothing else would end it."""
    await one.queued(number=NUMBER)
    await stop_build(one.build_uuid, StopCause.STOPPED, one.services)

    async def end_later() -> None:
        if len(time.waits) == 4:
            await ended(one)

    time.meanwhile = end_later
    assert await enforce(one.build_uuid, one.services) is None
    assert commands(one) == ["stop", "term", "kill", "kill"]
    assert time.waits == [GRACE_SECONDS] * 4


async def test_supervisor_that_calls_is_sent_the_stop_and_nothing_harder_is_sent_to_jenkins(one: OneBuild, time: Time):
    await one.running()
    build_log = await one.services.logs.open(one.build_uuid)
    assert build_log is not None
    await stop_build(one.build_uuid, StopCause.STOPPED, one.services)

    async def call() -> None:
        build_log.last_call_at = time.now - SILENCE_SECONDS + 1
        if len(time.waits) == 20:
            await ended(one)

    time.meanwhile = call
    assert await enforce(one.build_uuid, one.services) is None
    assert build_log.stop_cause == StopCause.STOPPED
    assert commands(one) == ["stop"]


async def test_silence_of_a_supervisor_is_followed_by_term(one: OneBuild, time: Time):
    await one.running()
    build_log = await one.services.logs.open(one.build_uuid)
    assert build_log is not None
    await stop_build(one.build_uuid, StopCause.STOPPED, one.services)

    async def end_once_killed() -> None:
        if "kill" in commands(one):
            await ended(one)

    time.meanwhile = end_once_killed
    assert await enforce(one.build_uuid, one.services) is None
    assert commands(one) == ["stop", "term", "kill"]
    assert time.waits[:6] == [10.0] * 6


async def test_ended_build_ends_the_watch(one: OneBuild, time: Time):
    await ended(one)
    assert await enforce(one.build_uuid, one.services) is None
    assert time.waits == []
