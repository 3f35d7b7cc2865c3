"""Determines how a build ended: by its supervisor's report, or by Jenkins' result (pure)."""

from collections.abc import Mapping, Sequence
from enum import StrEnum

from shuttle.build import STOP_ENDINGS, Build, Ending, State


class JenkinsResult(StrEnum):
    """The result of a build in Jenkins, and LOST for a build that Jenkins no longer has or runs."""

    SUCCESS = "SUCCESS"
    UNSTABLE = "UNSTABLE"
    FAILURE = "FAILURE"
    NOT_BUILT = "NOT_BUILT"
    ABORTED = "ABORTED"
    LOST = "LOST"

    @property
    def cut_short(self) -> bool:
        """Whether the build was ended from outside: then its supervisor may still run, and has reported no reason."""
        return self in {JenkinsResult.ABORTED, JenkinsResult.LOST}


def read_result(word: str | None) -> JenkinsResult:
    """Jenkins' result; FAILURE if there is none, or an unknown one."""
    return JenkinsResult(word) if word in set(JenkinsResult) else JenkinsResult.FAILURE


STOPPED_STATUS = 143
"""The exit status of a supervisor that ended its process because of a stop (`jenkins_pipelines/shell/stages.sh`)."""

_ENDINGS: Mapping[JenkinsResult, Ending] = {
    JenkinsResult.FAILURE: Ending(State.FAILED, "build_failed", "The build failed; its log says why."),
    JenkinsResult.UNSTABLE: Ending(State.FAILED, "unstable", "Jenkins marked the build as unstable."),
    JenkinsResult.NOT_BUILT: Ending(State.FAILED, "not_built", "Jenkins did not build it."),
    JenkinsResult.ABORTED: Ending(
        State.FAILED, "aborted_in_jenkins", "Somebody or something aborted the build in Jenkins."
    ),
    JenkinsResult.LOST: Ending(State.FAILED, "lost_in_jenkins", "Jenkins no longer has this build."),
}
_NOT_CLAIMED = Ending(
    State.FAILED,
    "not_claimed",
    "Jenkins says SUCCESS, but no step of the build ever called the shuttle: look at the job's script in Jenkins.",
)
_NOT_REPORTED = Ending(
    State.FAILED,
    "not_reported",
    "Jenkins says SUCCESS, but the supervisor did not report the end: something on the agent may have killed it.",
)


def ending_by_supervisors(build: Build, exit_statuses: Sequence[int]) -> Ending:
    """The ending by the exit statuses of the build's steps, which have precedence over Jenkins' result.

    A recorded stop has an effect only if it reached a step. A step that had ended before counts by its exit status.
    """
    if not any(exit_statuses):
        return Ending(State.SUCCEEDED)
    if build.stop_cause is not None and STOPPED_STATUS in exit_statuses:
        return STOP_ENDINGS[build.stop_cause]
    return _explained(build, _ENDINGS[JenkinsResult.FAILURE])


def ending_by_platforms(build: Build, exit_statuses: Sequence[int], failed: Sequence[str]) -> Ending:
    """The ending of a build with platforms, by the exit statuses of its branches and the platforms that failed."""
    if build.stop_cause is not None and STOPPED_STATUS in exit_statuses:
        return STOP_ENDINGS[build.stop_cause]
    if not failed:
        return Ending(State.SUCCEEDED)
    if build.report_reason == _ENDINGS[JenkinsResult.ABORTED].reason:
        return _explained(build, _ENDINGS[JenkinsResult.ABORTED])
    return _platforms_failed(failed)


def ending_by_jenkins(build: Build, result: JenkinsResult, failed: Sequence[str] = ()) -> Ending:
    """The ending of a build whose supervisor did not report one; never a success.

    `failed` are the platforms that did not succeed, if a branch has claimed the build.
    """
    if build.stop_cause is not None and (result is not JenkinsResult.SUCCESS or build.claimed_at is None):
        return STOP_ENDINGS[build.stop_cause]
    if failed and not result.cut_short:
        return _platforms_failed(failed)  # the reported reason is that of one platform
    if result is JenkinsResult.SUCCESS:
        return _NOT_CLAIMED if build.claimed_at is None else _explained(build, _NOT_REPORTED)
    return _ENDINGS[result] if result.cut_short else _explained(build, _ENDINGS[result])


def _platforms_failed(failed: Sequence[str]) -> Ending:
    return Ending(State.FAILED, "platform_failed", f"The build failed for: {', '.join(failed)}.")


def _explained(build: Build, ending: Ending) -> Ending:
    """The ending with the reason that the pipeline reported, if there is one."""
    if build.report_reason is None:
        return ending
    return Ending(State.FAILED, build.report_reason, build.report_message)


# Reasons that need no last line, because the log explains the end.
_EXPLAINED_BY_THE_LOG = frozenset({None, "build_failed"})


def reason_line(ending: Ending) -> bytes:
    """The last line of the log, which says why the build ended; b"" if the log explains it already."""
    if ending.reason in _EXPLAINED_BY_THE_LOG or not ending.message:
        return b""
    return f"-----> {' '.join(ending.message.split())}\n".encode()
