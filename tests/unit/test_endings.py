"""How a build ended: by the statuses of its supervisors, or by Jenkins' result."""

from datetime import UTC, datetime

import pytest

from shuttle.build import Build, State, StopCause
from shuttle.endings import JenkinsResult, ending_by_jenkins, ending_by_supervisors, read_result

AT = datetime(2030, 1, 2, tzinfo=UTC)


def a_build(**changes) -> Build:
    return Build(build_uuid="u", app_id="a", build_id="1", accepted_at=AT, deadline_at=AT, **changes)


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("SUCCESS", "not_reported"),
        ("UNSTABLE", "unstable"),
        ("FAILURE", "build_failed"),
        ("NOT_BUILT", "not_built"),
        ("ABORTED", "aborted_in_jenkins"),
        ("LOST", "lost_in_jenkins"),
        ("OF_A_PLUGIN", "build_failed"),
        (None, "build_failed"),
    ],
)
def test_every_result_of_jenkins_has_a_reason(word: str | None, reason: str):
    ending = ending_by_jenkins(a_build(claimed_at=AT), read_result(word))
    assert (ending.state, ending.reason) == (State.FAILED, reason)


@pytest.mark.parametrize(
    ("result", "reason"), [(JenkinsResult.UNSTABLE, "no_dockerfile"), (JenkinsResult.ABORTED, "aborted_in_jenkins")]
)
def test_reported_reason_explains_a_failure_but_not_an_abort(result: JenkinsResult, reason: str):
    build = a_build(claimed_at=AT, report_reason="no_dockerfile", report_message="There is none.")
    assert ending_by_jenkins(build, result).reason == reason


def test_a_recorded_stop_explains_the_end():
    build = a_build(claimed_at=AT, stop_cause=StopCause.TIMEOUT)
    assert ending_by_jenkins(build, JenkinsResult.ABORTED).state is State.TIMEDOUT
    assert ending_by_jenkins(build, JenkinsResult.SUCCESS).reason == "not_reported"


@pytest.mark.parametrize(
    ("exit_statuses", "state", "reason"),
    [
        ([0], State.SUCCEEDED, None),
        ([7], State.FAILED, "build_failed"),
        ([143], State.STOPPED, "stopped"),
        ([7, 143], State.STOPPED, "stopped"),
        ([0, 143], State.STOPPED, "stopped"),
        ([0, 7], State.FAILED, "build_failed"),
    ],
)
def test_exit_statuses_decide_unless_a_step_was_stopped(exit_statuses: list[int], state: State, reason: str | None):
    ending = ending_by_supervisors(a_build(claimed_at=AT, stop_cause=StopCause.STOPPED), exit_statuses)
    assert (ending.state, ending.reason) == (state, reason)
