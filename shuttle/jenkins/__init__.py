"""The interface to Jenkins: the calls that the shuttle makes, and their results.

Every call may raise JenkinsUnavailableError (refused, reset, timed out, 5xx, unreadable, or a 401 that may come from a
starting Jenkins: the outcome is unknown, retry) and JenkinsRefusedError (a steady 401, or a 403 with the missing
permission in its message and in `permission`). Where a docstring says so, a call may also raise JenkinsNotFoundError
(a healthy Jenkins does not have the object). No answer of Jenkins ends a build by itself: `shuttle.lifecycle` decides.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class StopCommand(StrEnum):
    """Jenkins' commands that stop a build, by their paths. TERM and KILL signal no process of the build."""

    STOP = "stop"
    TERM = "term"
    KILL = "kill"


@dataclass(frozen=True, slots=True)
class QueueItem:
    """An item of Jenkins' queue. `why`: Jenkins' reason why it waits, None once it has left the queue. `number`: the
    number of the build that it became, None = not known. `blocked`: it waits for the end of another build of its job,
    or because Jenkins is about to shut down."""

    item: int
    why: str | None
    cancelled: bool
    number: int | None
    blocked: bool = False


@dataclass(frozen=True, slots=True)
class JenkinsBuild:
    """The state of a build in Jenkins; `result` is None while it runs.

    `ghost`: Jenkins shows the build as running, but nothing runs it. A Jenkins that is killed in the first two seconds
    of a build leaves a ghost; no stop, term or kill ends it. Versions up to 2.263.4 do not report `inProgress`, so
    with them `ghost` is always False.
    """

    number: int
    building: bool
    result: str | None
    queue_item: int | None = None
    ghost: bool = False


@dataclass(frozen=True, slots=True)
class Load:
    """How many items wait in the controller's queue, and how many executors it has, and uses."""

    waiting: int
    executors: int
    busy: int


class Jenkins(Protocol):
    """One controller. Safe for any number of tasks of one loop. A job in a folder is named `folder/name`."""

    async def apply_job(self, job: str, config_xml: bytes, digest: str) -> None:
        """Create the job (and missing folders), or update it if the digest in its description differs or if somebody
        edited it (script, sandbox, parameters, disabled, concurrency; logged once). An unchanged job costs two cheap
        GETs.

        Raises ForeignJobError if a job of that name lacks our marker, JenkinsRefusedError also if our user may not read
        the job or its config.xml.
        """

    async def delete_job(self, job: str) -> None:
        """Delete our job; succeeds if there is none. Raises ForeignJobError.

        A newer Jenkins first ends the job's running build and waits up to 15 seconds for it. If the build takes longer,
        JenkinsUnavailableError is raised; retry.
        """

    async def trigger(self, job: str, parameters: Mapping[str, str]) -> int:
        """Start a build; returns the queue item. JenkinsNotFoundError: no such job. JobNotReadyError: nothing was
        queued, because the job is disabled or has no parameters; apply_job repairs it. JenkinsUnavailableError: the
        build may have been queued; search for the marker before a retry."""

    async def waiting(self) -> Mapping[str, QueueItem]:
        """Every waiting item with a marker, by build uuid. Concurrent calls share one listing."""

    async def waiting_nodes(self) -> Mapping[tuple[str, int], QueueItem]:
        """The queue items of `node` steps of running builds, by job and build number; `why` is Jenkins' text ("There
        are no nodes with the label …"). Read from the same listing as `waiting`. Always empty with 2.263.4, which does
        not report the build that a `node` step belongs to."""

    async def queue_item(self, item: int, build_uuid: str) -> QueueItem:
        """The build's item. JenkinsNotFoundError 5 minutes after it has left the queue, after a restart of Jenkins, and
        if the number belongs to an item without the build's marker: a Jenkins that was killed gives numbers again."""

    async def find_build(self, job: str, build_uuid: str) -> JenkinsBuild | None:
        """The job's build with the marker; if there are several (a replay), the first that is no ghost. None = a
        healthy Jenkins has no such build, or no such job."""

    async def newest_build(self, job: str) -> JenkinsBuild | None:
        """The job's build with the highest number. Raises JenkinsNotFoundError."""

    async def build(self, job: str, number: int) -> JenkinsBuild:
        """The build. JenkinsNotFoundError if Jenkins does not have it any more."""

    async def console_tail(self, job: str, number: int, limit_bytes: int = 65536) -> bytes:
        """The messages at the end of a build's console (errors, a lost agent, who aborted it): whole lines of UTF-8
        from its last `limit_bytes`, without the lines of the pipeline engine. Read it once the build is over.
        JenkinsNotFoundError if Jenkins does not have the build any more."""

    async def cancel(self, item: int, build_uuid: str) -> None:
        """Remove the build's item from the queue; succeeds if it has left already or is unknown. An item without the
        build's marker stays in the queue."""

    async def stop(self, job: str, number: int, command: StopCommand) -> None:
        """Stop a build. Succeeds if the build is finished or missing."""

    async def describe(self, job: str, number: int, text: str) -> None:
        """Set the build's description."""

    async def load(self) -> Load:
        """The controller's load."""

    async def check(self) -> None:
        """Check that Jenkins answers and that the credentials suffice. JenkinsRefusedError names what is missing; it is
        also raised if a recent command lacked a permission."""

    async def close(self) -> None:
        """Close connections and threads. Idempotent."""
