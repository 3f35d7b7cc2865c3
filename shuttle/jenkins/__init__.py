"""What the shuttle asks of a Jenkins: the port, and what comes back.

Errors of every call: JenkinsUnavailableError (refused, reset, timed out, 5xx, unreadable, a 401 that may come from a
Jenkins that is starting: unknown, ask again), JenkinsRefusedError (a steady 401; 403, with the missing permission in
its message and in `permission`) and, where said, JenkinsNotFoundError (a healthy Jenkins does not have it).
Nothing a Jenkins answers ever ends a build by itself; `shuttle.lifecycle` decides.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class QueueItem:
    """A trigger on its way: `why` it waits (None once it left), `number` of the build it became (None = not known)."""

    item: int
    why: str | None
    cancelled: bool
    number: int | None


@dataclass(frozen=True, slots=True)
class JenkinsBuild:
    """A build as Jenkins sees it; `result` is None while it runs.

    `ghost`: Jenkins says that it builds but runs nothing, for good. A Jenkins that is killed in the first two seconds
    of a build leaves one behind; no stop, term or kill ends it. Only versions that tell `inProgress` (newer than
    2.263.4) show the difference; elsewhere it is always False.
    """

    number: int
    building: bool
    result: str | None
    queue_item: int | None = None
    ghost: bool = False


class Jenkins(Protocol):
    """One controller. Safe for any number of tasks of one loop. A job in a folder is named `folder/name`."""

    async def apply_job(self, job: str, config_xml: bytes, digest: str) -> None:
        """Create the job (and missing folders), or update it when the digest in its description differs or when
        somebody edited it (script, sandbox, parameters, disabled, concurrency; logged once); otherwise two cheap GETs.

        Raises ForeignJobError when a job of that name lacks our marker, JenkinsRefusedError also when Jenkins does not
        show us the job or its config.xml.
        """

    async def delete_job(self, job: str) -> None:
        """Delete our job; a missing one is fine. Raises ForeignJobError.

        A newer Jenkins ends the job's running build first and waits up to 15 seconds for it: JenkinsUnavailableError
        when that was not enough; ask again.
        """

    async def trigger(self, job: str, parameters: Mapping[str, str]) -> int:
        """Start a build; returns the queue item. JenkinsNotFoundError: no such job. JobNotReadyError: Jenkins said for
        certain that nothing was queued (disabled, or without parameters): apply_job repairs it.
        JenkinsUnavailableError: it may have been queued; look for the marker before asking again."""

    async def waiting(self) -> Mapping[str, QueueItem]:
        """Every waiting item that carries a marker, by build uuid: one listing shared by all who ask at once."""

    async def waiting_nodes(self) -> Mapping[tuple[str, int], QueueItem]:
        """What running builds wait for: by job and number the queue item of the build's `node` step, whose `why` is
        Jenkins' own ("There are no nodes with the label …"). Read from the same listing as `waiting`. Always empty
        with 2.263.4, which does not say whose `node` step an item is."""

    async def queue_item(self, item: int) -> QueueItem:
        """JenkinsNotFoundError after the 5-minute rule or a restart."""

    async def find_build(self, job: str, build_uuid: str) -> JenkinsBuild | None:
        """The job's build that carries the marker, of several (a replay) the first that is no ghost; None = a healthy
        Jenkins shows none (also: no such job)."""

    async def build(self, job: str, number: int) -> JenkinsBuild:
        """JenkinsNotFoundError when it is gone."""

    async def console_tail(self, job: str, number: int, limit_bytes: int = 65536) -> bytes:
        """Jenkins' own words for people at the end of a build's console (errors, a lost agent, who aborted it): whole
        lines of UTF-8 from its last `limit_bytes`, without the engine's bookkeeping. Read it when the build is over.
        JenkinsNotFoundError when the build is gone."""

    async def cancel(self, item: int) -> None:
        """Take an item out of the queue; one that already left or is unknown is fine."""

    async def stop(self, job: str, number: int, how: str) -> None:
        """`how` is stop, term or kill; a finished or missing build is fine."""

    async def describe(self, job: str, number: int, text: str) -> None:
        """Set the build's description."""

    async def check(self) -> None:
        """Prove that Jenkins answers and that the credentials suffice; JenkinsRefusedError names what is missing, also
        when a command was lately refused for want of a permission."""

    async def close(self) -> None:
        """Give back connections and threads; also fine twice."""
