"""The pauses between agents' calls: short for a few builds, within the budget for many, none during a backlog."""

import asyncio

import pytest

from shuttle.lifecycle.agent_calls import SHORTEST_PAUSE_SECONDS, AgentCalls


class Loop:
    """The clock of the event loop, moved by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 0.0
        monkeypatch.setattr(asyncio, "get_running_loop", lambda: self)

    def time(self) -> float:
        return self.seconds


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    return Loop(monkeypatch)


def test_a_few_builds_get_the_shortest_pause(loop: Loop):
    calls = AgentCalls(200)
    assert [calls.pause_seconds(f"build {claim}", claim, 10) for claim in range(32)] == [SHORTEST_PAUSE_SECONDS] * 32


def test_a_thousand_builds_together_stay_within_the_budget(loop: Loop):
    calls = AgentCalls(200)
    for _ in range(2):
        pauses = [calls.pause_seconds(f"build {claim}", claim, 10) for claim in range(1000)]
    assert sum(1 / pause for pause in pauses) == pytest.approx(200)
    assert len(set(pauses)) == 1


def test_a_backlog_is_sent_without_pauses_unless_many_builds_have_one(loop: Loop):
    calls = AgentCalls(200)
    assert calls.pause_seconds("build 1", 1, 4 * 1024**2) == 0
    for claim in range(100):
        pause = calls.pause_seconds(f"build {claim}", claim, 4 * 1024**2)
    assert pause == pytest.approx(0.5)


def test_the_share_of_silent_and_ended_builds_goes_to_the_others(loop: Loop):
    calls = AgentCalls(10)
    for claim in range(100):
        calls.pause_seconds(f"build {claim}", claim, 10)
    for claim in range(50):
        calls.remove(f"build {claim}", claim)
    assert calls.pause_seconds("build 99", 99, 10) == pytest.approx(5)
    loop.seconds += 11
    assert calls.pause_seconds("build 99", 99, 10) == SHORTEST_PAUSE_SECONDS


def test_a_build_with_many_supervisors_has_one_share(loop: Loop):
    calls = AgentCalls(10)
    for _ in range(2):
        branches = [calls.pause_seconds("branches", claim, 10) for claim in range(1, 101)]
        alone = calls.pause_seconds("alone", 101, 10)
    assert alone == pytest.approx(0.2)
    assert sum(1 / pause for pause in branches) == pytest.approx(5)
    for claim in range(1, 101):
        calls.remove("branches", claim)
    assert calls.pause_seconds("branches", 1, 10) == pytest.approx(0.2)
