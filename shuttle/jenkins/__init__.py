"""What the shuttle asks of a Jenkins: the port, and what comes back.

Errors of every call: JenkinsUnavailableError (refused, reset, timed out, 5xx, unreadable: unknown, ask again),
JenkinsRefusedError (401, 403) and, where said, JenkinsNotFoundError (a healthy Jenkins does not have it).
Nothing a Jenkins answers ever ends a build by itself; `shuttle.lifecycle` decides.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
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
    """A build as Jenkins sees it; `result` is None while it runs."""

    number: int
    building: bool
    result: str | None
    queue_item: int | None = None


@dataclass(slots=True)
class LogResponse:
    """One progressiveText answer. `next_start` and `more` come from its headers and hold only once `chunks` has been
    read to its end without an error; a body that is cut raises JenkinsUnavailableError from `chunks`.

    `next_start` never goes back: a running log that is shorter than `start` raises JenkinsUnavailableError instead,
    a finished one is an empty last answer."""

    chunks: AsyncIterator[bytes]
    next_start: int
    more: bool


class Jenkins(Protocol):
    """One controller. Safe for any number of tasks of one loop. A job in a folder is named `folder/name`."""

    async def apply_job(self, job: str, config_xml: bytes, digest: str) -> None:
        """Create the job (and missing folders), or update it when the digest in its description differs or when it
        lost the parameters that we start it with; otherwise one cheap question.

        Raises ForeignJobError when a job of that name lacks our marker.
        """

    async def delete_job(self, job: str) -> None:
        """Delete our job; a missing one is fine. Raises ForeignJobError."""

    async def trigger(self, job: str, parameters: Mapping[str, str]) -> int:
        """Start a build; returns the queue item. JenkinsNotFoundError: no such job. JobNotReadyError: Jenkins said for
        certain that nothing was queued (disabled: only a person can help; no parameters: apply_job gives them back).
        JenkinsUnavailableError: it may have been queued; look for the marker before asking again."""

    async def waiting(self) -> Mapping[str, QueueItem]:
        """Every waiting item that carries a marker, by build uuid: one listing shared by all who ask at once."""

    async def queue_item(self, item: int) -> QueueItem:
        """JenkinsNotFoundError after the 5-minute rule or a restart."""

    async def find_build(self, job: str, build_uuid: str) -> JenkinsBuild | None:
        """The job's build that carries the marker, of several (a replay) the first; None = a healthy Jenkins shows none
        (also: no such job)."""

    async def build(self, job: str, number: int) -> JenkinsBuild:
        """JenkinsNotFoundError when it is gone."""

    def log(self, job: str, number: int, start: int) -> AbstractAsyncContextManager[LogResponse]:
        """Jenkins' text from raw offset `start`; JenkinsNotFoundError when the build is gone."""

    async def cancel(self, item: int) -> None:
        """Take an item out of the queue; one that already left or is unknown is fine."""

    async def stop(self, job: str, number: int, how: str) -> None:
        """`how` is stop, term or kill; a finished or missing build is fine."""

    async def describe(self, job: str, number: int, text: str) -> None:
        """Set the build's description."""

    async def check(self) -> None:
        """Prove that Jenkins answers and that the credentials suffice."""

    async def close(self) -> None:
        """Give back connections and threads; also fine twice."""
