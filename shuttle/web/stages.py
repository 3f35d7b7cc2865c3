"""The stages of a build over HTTP, and the part of the log that belongs to one of them."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from aiohttp import web

from shuttle.build import Build
from shuttle.errors import InvalidRequestError, NotFoundError, StoreError
from shuttle.logs import LogReader
from shuttle.store import Database
from shuttle.store.progress import StageRow, stage_at, stages_of
from shuttle.web import SERVICES
from shuttle.web.answers import json_answer
from shuttle.web.description import describe
from shuttle.web.models import StageEntry, StageLog, Stages
from shuttle.web.names import named_build
from shuttle.web.representation import stage_times

NOT_REPORTED = "The place of this stage in the log was not reported, or was reported too late; read the whole log."
# A stage may end while the log does not grow, so its row is read again at least this often.
_REREAD_SECONDS = 1.0


@describe(Stages, errors=(NotFoundError, StoreError))
async def list_stages(request: web.Request) -> web.StreamResponse:
    """`GET /:app_id/:build_id/stages`: the stages in the order in which they began."""
    build = await named_build(request)
    stages = await request.app[SERVICES].database.run(stages_of, build.build_uuid)
    return json_answer(Stages(stages=[_entry(stage, build) for stage in stages]))


def _entry(stage: StageRow, build: Build) -> StageEntry:
    return StageEntry(**dict(stage_times(stage)), log=_place(stage, build))


def _place(stage: StageRow, build: Build) -> StageLog | None:
    if stage.raw_start is None or (build.state.final and stage.log_start is None):
        return None
    return StageLog(
        start=stage.log_start,
        stop=build.log_bytes if build.state.final and stage.log_stop is None else stage.log_stop,
    )


async def stage_reader(request: web.Request, build: Build | None, whole: LogReader) -> "StageReader":
    """A reader of the part of the log that belongs to the stage in the query.

    Raises:
        InvalidRequestError: there is a branch, but no stage. NotFoundError: the build has no such stage, or nobody
            has reported where it is in the log.
    """
    name, branch = request.query.get("stage"), request.query.get("branch")
    if name is None:
        raise InvalidRequestError("Name the stage, too.", field="stage")
    if build is None:
        raise NotFoundError("The stages of this build are not known.", field="stage")
    database = request.app[SERVICES].database
    stages = await database.run(stages_of, build.build_uuid)
    stage = _named(stages, name, branch)
    if stage.raw_start is None:
        raise NotFoundError(NOT_REPORTED, field="stage")
    reader = StageReader(whole, build.build_uuid, stage, database)
    await reader.refresh()
    return reader


def _named(stages: Sequence[StageRow], name: str, branch: str | None) -> StageRow:
    """The newest stage of that name."""
    named = [stage for stage in stages if stage.stage == name]
    if not named:
        known = ", ".join(dict.fromkeys(stage.stage for stage in stages)) or "none"
        raise NotFoundError(f"The build has no such stage yet; so far it has: {known}.", field="stage")
    found = [stage for stage in named if stage.branch == (branch or "")]
    if not found:
        branches = ", ".join(dict.fromkeys(stage.branch for stage in named if stage.branch))
        what = (
            f"Name a branch that has this stage: {branches}." if branches else "Leave out branch: the stage has none."
        )
        raise NotFoundError(what, field="branch")
    return found[-1]


class StageReader:
    """A LogReader of the part of a log that belongs to a stage. Offsets are those of the whole log.

    With `with_reason`, the part of a stage that does not succeed ends with the log, which says why the build failed.
    """

    def __init__(
        self, whole: LogReader, build_uuid: str, stage: StageRow, database: Database, *, with_reason: bool = False
    ) -> None:
        self._whole = whole
        self._build_uuid = build_uuid
        self._stage = stage
        self._database = database
        self._with_reason = with_reason
        self._seen_bytes = 0
        self.size_bytes = 0
        self.complete = False

    @property
    def start(self) -> int | None:
        """The offset of the stage's first byte; None = the stage's stream has printed nothing yet."""
        return self._stage.log_start

    async def refresh(self) -> None:
        """Read again where the stage begins and ends.

        The log's size is read before the row. So if the bytes up to that size include some of a later stage, the row
        already has the end of this stage.
        """
        self._seen_bytes, is_over = self._whole.size_bytes, self._whole.complete
        newest = await self._database.run(stage_at, self._build_uuid, self._stage.position)
        self._stage = newest or self._stage
        start, stop = self._stage.log_start, self._stage.log_stop
        if self._with_reason and self._stage.status != "succeeded":
            stop = None
        if start is not None:
            self.size_bytes = max(start, min(self._seen_bytes, self._seen_bytes if stop is None else stop))
        self.complete = is_over or (start is not None and stop is not None and self._seen_bytes >= stop)

    async def begun(self) -> None:
        """Return as soon as it is known where the stage begins, or the log is complete."""
        while self.start is None and not self.complete:
            await self._change()

    async def read(self, offset: int, limit_bytes: int) -> bytes:
        """See LogReader."""
        return await self._whole.read(offset, max(min(limit_bytes, self.size_bytes - offset), 0))

    async def grown_beyond(self, offset: int) -> None:
        """See LogReader."""
        while self.size_bytes <= offset and not self.complete:
            await self._change()

    async def _change(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_REREAD_SECONDS):
                await self._whole.grown_beyond(self._seen_bytes)
        await self.refresh()
