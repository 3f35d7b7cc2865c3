"""Retries: what is repeated, how long the waits are, what ends them early, and what `waiting_for` shows."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from shuttle.errors import (
    JenkinsNotFoundError,
    JenkinsUnavailableError,
    RetryLaterError,
    StoreError,
    UnavailableError,
)
from shuttle.lifecycle.backoff import Backoff, NotFoundTimer
from shuttle.lifecycle.signals import Listener
from shuttle.lifecycle.time_limit import TimeLimit
from shuttle.logs.spool import SpoolError
from tests.unit.lifecycle.one_build import OneBuild

DOWN = JenkinsUnavailableError("Jenkins is out of reach.")


def failing(*errors: Exception) -> Callable[[], Awaitable[str]]:
    """A step that raises these errors, one each time, and then succeeds."""
    left = list(errors)

    async def step() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return step


@pytest.fixture
def waits(one: OneBuild, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The requested waits, with the pauses of production; none takes time."""
    requested: list[float] = []

    async def wait(_: Listener, seconds: float) -> bool:
        requested.append(seconds)
        return False

    monkeypatch.setattr("shuttle.lifecycle.backoff._FIRST_SECONDS", 0.25)
    monkeypatch.setattr(Listener, "wait", wait)
    return requested


async def test_step_is_repeated_until_it_succeeds(one: OneBuild):
    assert await Backoff(one.build_uuid, one.services).until(failing(DOWN, DOWN), "Jenkins") == "done"


async def test_waiting_for_names_the_service_while_it_fails_and_nothing_afterwards(one: OneBuild):
    shown = []

    async def step() -> None:
        shown.append((await one.row()).waiting_for)
        if len(shown) < 3:
            raise DOWN

    await Backoff(one.build_uuid, one.services).until(step, "Jenkins")
    assert shown == [None, "Jenkins: Jenkins is out of reach.", "Jenkins: Jenkins is out of reach."]
    assert (await one.row()).waiting_for is None


async def test_waiting_for_shows_the_newest_error(one: OneBuild):
    shown = []

    async def step() -> None:
        shown.append((await one.row()).waiting_for)
        if len(shown) < 3:
            raise UnavailableError(f"Error {len(shown)}.")

    await Backoff(one.build_uuid, one.services).until(step, "the disk")
    assert shown == [None, "the disk: Error 1.", "the disk: Error 2."]


@pytest.mark.parametrize("error", [JenkinsNotFoundError("There is none."), SpoolError("The disk is full.")])
async def test_error_that_is_no_outage_is_raised_at_once(one: OneBuild, waits: list[float], error: Exception):
    with pytest.raises(type(error)):
        await Backoff(one.build_uuid, one.services).until(failing(error), "Jenkins")
    assert waits == []


async def test_only_the_named_errors_are_retried(one: OneBuild, waits: list[float]):
    step = failing(SpoolError("The disk is full."), StoreError("The database is away."))
    with pytest.raises(StoreError):
        await Backoff(one.build_uuid, one.services).until(step, "the spool", errors=SpoolError)
    assert len(waits) == 1


async def test_waits_double_from_a_quarter_of_a_second_to_ten_seconds(one: OneBuild, waits: list[float]):
    await Backoff(one.build_uuid, one.services).until(failing(*[DOWN] * 8), "Jenkins")
    for waited, expected in zip(waits, (0.25, 0.5, 1, 2, 4, 8, 10, 10), strict=True):
        assert 0.75 * expected <= waited <= 1.25 * expected


async def test_waits_of_many_builds_differ(one: OneBuild, waits: list[float]):
    for _ in range(5):
        await Backoff(one.build_uuid, one.services).wait("Jenkins")
    assert len(set(waits)) == 5


async def test_waits_are_short_again_after_a_success(one: OneBuild, waits: list[float]):
    backoff = Backoff(one.build_uuid, one.services)
    await backoff.until(failing(*[DOWN] * 6), "Jenkins")
    waits.clear()
    await backoff.until(failing(DOWN), "Jenkins")
    assert waits[0] <= 0.25 * 1.25


async def test_change_of_the_build_ends_a_wait(one: OneBuild, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("shuttle.lifecycle.backoff._FIRST_SECONDS", 1000)
    repeating = asyncio.create_task(Backoff(one.build_uuid, one.services).until(failing(DOWN), "Jenkins"))
    await one.until(lambda build: build.waiting_for)
    one.services.signals.wake("another build")
    await asyncio.sleep(0)
    assert not repeating.done()
    one.services.signals.wake(one.build_uuid)
    async with asyncio.timeout(5):
        assert await repeating == "done"


async def test_last_error_is_raised_if_no_time_is_left_for_another_try(one: OneBuild, waits: list[float]):
    """The first wait is a quarter of a second: with as much left, the try after it would begin too late."""
    backoff = Backoff(one.build_uuid, one.services)
    with pytest.raises(UnavailableError, match="the last"):
        await backoff.until(failing(UnavailableError("the last")), "it", limit=TimeLimit.of(0.25, one.clock))
    assert waits == []
    assert await backoff.until(failing(DOWN), "it", limit=TimeLimit.of(0.26, one.clock)) == "done"


async def test_tries_end_once_the_time_has_passed(one: OneBuild, waits: list[float]):
    tries = 0

    async def step() -> None:
        nonlocal tries
        tries += 1
        one.clock.forward(10)
        raise DOWN

    limit = TimeLimit.of(35, one.clock)
    with pytest.raises(JenkinsUnavailableError):
        await Backoff(one.build_uuid, one.services).until(step, "it", limit=limit)
    assert tries == 4


@pytest.mark.parametrize(
    ("asked_seconds", "left_seconds", "waited_seconds"),
    [(30, 600, 30), (60, 600, 60), (61, 600, 60), (60, 100, 50), (60, None, 60)],
)
async def test_retry_after_is_waited_for_up_to_a_minute_and_half_of_the_time_left(
    one: OneBuild, waits: list[float], asked_seconds: float, left_seconds: float | None, waited_seconds: float
):
    limit = None if left_seconds is None else TimeLimit.of(left_seconds, one.clock)
    step = failing(RetryLaterError("Later.", after_seconds=asked_seconds))
    await Backoff(one.build_uuid, one.services).until(step, "the source", limit=limit)
    assert waits == [waited_seconds]


async def test_retry_after_does_not_shorten_a_wait(one: OneBuild, waits: list[float]):
    step = failing(RetryLaterError("Later.", after_seconds=0))
    await Backoff(one.build_uuid, one.services).until(step, "the source")
    assert waits[0] >= 0.75 * 0.25


async def test_not_found_has_to_last_for_the_settling_time(one: OneBuild, monkeypatch: pytest.MonkeyPatch):
    now = 100.0
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
    timer = NotFoundTimer(one.services)
    assert not timer.for_too_long()
    now += 0.019
    assert not timer.for_too_long()
    now += 0.0011
    assert timer.for_too_long()
    timer.reset()
    assert not timer.for_too_long()


async def test_failure_restarts_the_time_of_not_found(one: OneBuild, monkeypatch: pytest.MonkeyPatch):
    now, loop = 100.0, asyncio.get_running_loop()
    with monkeypatch.context() as patched:
        patched.setattr(loop, "time", lambda: now)
        timer = NotFoundTimer(one.services)
    backoff = Backoff(one.build_uuid, one.services, [timer])
    assert not timer.for_too_long()
    now += 10
    await backoff.until(failing(DOWN), "Jenkins")
    assert not timer.for_too_long()
