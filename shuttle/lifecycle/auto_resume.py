"""Automatic resumes: resumes failed builds whose requests ask for it, after failures that are marked as retryable."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta

import structlog

from shuttle.build import Build
from shuttle.errors import (
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    NotOwnerError,
    ShuttleError,
    UnauthorizedError,
)
from shuttle.lifecycle import Services
from shuttle.lifecycle.accept import Acceptance, AcceptedBuild
from shuttle.lifecycle.build_spec import read_spec
from shuttle.request import ResumeRequest, canonical_json
from shuttle.store.auto_resumes import WaitingResume, cancel_resumes, newer_build, planned_resume, waiting_resumes
from shuttle.store.builds import find_build
from shuttle.store.fence import Ownership
from shuttle.store.tx import Tx

log = structlog.get_logger()

# What a later try would not change.
_REFUSALS = (ConflictError, InvalidRequestError, NotFoundError, UnauthorizedError)
_RETRY_PAUSE = timedelta(seconds=30)


class AutoResumes:
    """The planned resumes of this process's apps. The worker calls `look` when there may be more, and `begin_due`.

    The plans are in the database: after a restart or a takeover they are found by `look`.
    """

    def __init__(self, services: Services, acceptance: Acceptance, begin: Callable[[AcceptedBuild], None]) -> None:
        """`begin` starts an accepted build."""
        self._services = services
        self._acceptance = acceptance
        self._begin = begin
        self._waiting: dict[str, WaitingResume] = {}
        self._running: dict[asyncio.Task[None], WaitingResume] = {}

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """Those that have not ended."""
        return [*self._running]

    async def add_of(self, build_uuid: str) -> None:
        """Add the plan of a build that has just ended. Raises StoreError."""
        self.add(await self._services.database.run(waiting_resumes, build_uuid))

    def add(self, found: Sequence[WaitingResume]) -> None:
        """Add the planned resumes of this process's apps, except those that run."""
        running = {waiting.build_uuid for waiting in self._running.values()}
        for waiting in found:
            if waiting.build_uuid not in running:
                self._services.owned.add(Ownership(waiting.app_id, waiting.epoch))
                self._waiting.setdefault(waiting.build_uuid, waiting)

    def drop(self, app_id: str) -> None:
        """Leave the app to another replica."""
        for waiting in [waiting for waiting in self._waiting.values() if waiting.app_id == app_id]:
            del self._waiting[waiting.build_uuid]
        for task, waiting in self._running.items():
            if waiting.app_id == app_id:
                task.cancel()

    def begin_due(self) -> None:
        """Begin the resumes whose time has come, each as a task: the object store may not answer."""
        now = self._services.clock.steady()
        for waiting in [waiting for waiting in self._waiting.values() if waiting.due_at <= now]:
            del self._waiting[waiting.build_uuid]
            context = self._services.owned.context(waiting.app_id)
            if context is not None:
                task = asyncio.create_task(self._try(waiting), name=f"resume {waiting.build_uuid}", context=context)
                self._running[task] = waiting
                task.add_done_callback(self._running.pop)

    async def _try(self, waiting: WaitingResume) -> None:
        try:
            await self._resume(waiting.build_uuid)
        except NotOwnerError:
            return
        except ShuttleError as error:
            log.warning("an automatic resume waits", build_uuid=waiting.build_uuid, error=error.message)
            self._wait_again(waiting)
        except Exception:  # a bug must not lose the resume
            log.exception("an automatic resume failed and will be repeated", build_uuid=waiting.build_uuid)
            self._wait_again(waiting)

    def _wait_again(self, waiting: WaitingResume) -> None:
        due_at = self._services.clock.steady() + _RETRY_PAUSE
        self._waiting[waiting.build_uuid] = waiting._replace(due_at=due_at)

    async def _resume(self, build_uuid: str) -> None:
        """Accept the build that resumes this one, unless it is needless or refused. Raises ShuttleError: try later."""
        run = self._services.database.run
        build, newer = await run(_planned, build_uuid)
        if build is None:
            return
        try:
            if newer is not None:
                raise ConflictError(f"Build {newer} of the app is newer.")
            spec = await read_spec(build_uuid, self._services.database, self._services.vault)
            wanted = ResumeRequest(build.build_id, automatic=True)
            content = canonical_json({"resume_from": {"build_id": build.build_id}, "automatic": build_uuid})
            accepted = await self._acceptance.accept_resume(build.app_id, None, wanted, content, spec.standing)
        except _REFUSALS as error:
            log.warning("a build is not resumed automatically", build_uuid=build_uuid, error=error.message)
            await run(cancel_resumes, [build_uuid])
            return
        log.info("a build is resumed automatically", build_uuid=build_uuid, successor=accepted.build.build_id)
        if not accepted.replayed:
            self._begin(accepted)


def _planned(tx: Tx, build_uuid: str) -> tuple[Build | None, str | None]:
    """The build, if it is still going to be resumed, and the id of a newer build that makes this needless."""
    build = find_build(tx, build_uuid)
    if build is None or planned_resume(tx, build) is None:
        return None, None
    return build, newer_build(tx, build)
