"""How a build ended: by the word of its supervisor, or by the result that Jenkins shows (pure)."""

from collections.abc import Mapping
from enum import StrEnum

from shuttle.build import STOP_ENDINGS, Build, Ending, State


class JenkinsResult(StrEnum):
    """How a build ended in Jenkins, in Jenkins' words; LOST is ours, for a build that Jenkins no longer has or runs."""

    SUCCESS = "SUCCESS"
    UNSTABLE = "UNSTABLE"
    FAILURE = "FAILURE"
    NOT_BUILT = "NOT_BUILT"
    ABORTED = "ABORTED"
    LOST = "LOST"

    @property
    def cut_short(self) -> bool:
        """The build was ended from outside, so its supervisor may still be running and gave no reason of its own."""
        return self in {JenkinsResult.ABORTED, JenkinsResult.LOST}


def read_result(word: str | None) -> JenkinsResult:
    """The result that Jenkins shows; FAILURE if there is none, or one that we do not know."""
    return JenkinsResult(word) if word in set(JenkinsResult) else JenkinsResult.FAILURE


_ENDINGS: Mapping[JenkinsResult, Ending] = {
    JenkinsResult.FAILURE: Ending(State.FAILED, "build_failed", "The build failed; its log says why."),
    JenkinsResult.UNSTABLE: Ending(State.FAILED, "unstable", "Jenkins calls the build unstable."),
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
    "Jenkins says SUCCESS, but the build's supervisor did not: something on the agent ended it.",
)


def ending_by_supervisor(build: Build, exit_status: int) -> Ending:
    """How a build ended by its supervisor's word, which rules. A stop that came after the success changes nothing."""
    if exit_status == 0:
        return Ending(State.SUCCEEDED)
    if build.stop_cause is not None:
        return STOP_ENDINGS[build.stop_cause]
    return _explained(build, _ENDINGS[JenkinsResult.FAILURE])


def ending_by_jenkins(build: Build, result: JenkinsResult) -> Ending:
    """How a build ended whose supervisor did not report it; never a success."""
    if build.stop_cause is not None and (result is not JenkinsResult.SUCCESS or build.claimed_at is None):
        return STOP_ENDINGS[build.stop_cause]
    if result is JenkinsResult.SUCCESS:
        return _NOT_CLAIMED if build.claimed_at is None else _explained(build, _NOT_REPORTED)
    return _ENDINGS[result] if result.cut_short else _explained(build, _ENDINGS[result])


def _explained(build: Build, ending: Ending) -> Ending:
    """The pipeline's own reason, where it gave one."""
    if build.report_reason is None:
        return ending
    return Ending(State.FAILED, build.report_reason, build.report_message)


# Ends that the log itself explains.
_EXPLAINED_BY_THE_LOG = frozenset({None, "build_failed"})


def reason_line(ending: Ending) -> bytes:
    """The log's last line for an end that the text before does not explain; empty for one that it does."""
    if ending.reason in _EXPLAINED_BY_THE_LOG or not ending.message:
        return b""
    return f"-----> {' '.join(ending.message.split())}\n".encode()
