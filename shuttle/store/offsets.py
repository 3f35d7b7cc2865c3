"""Acknowledged offsets: what all sinks have told in about a second, written in one go."""

import asyncio
from collections.abc import Mapping, Sequence

import sqlalchemy as sa
import structlog

from shuttle.errors import StoreError
from shuttle.store import Database
from shuttle.store.tables import sinks
from shuttle.store.tx import Tx

log = structlog.get_logger()

# A killed shuttle repeats at most what it was acknowledged in this time, with the same offsets.
_WRITTEN_EVERY_SECONDS = 1.0
# A sink that has ended said itself up to where.
_WRITE = (
    sinks.update()
    .where(sinks.c.sink_id == sa.bindparam("which"), sinks.c.ended_at.is_(None))
    .values(acked_offset=sa.bindparam("offset"))
)


def _write(tx: Tx, rows: Sequence[Mapping[str, int]]) -> None:
    tx.execute(_WRITE, rows)


class AckedOffsets:
    """The newest offset of each sink until it is written: a write for each would be a thousand a second for as many."""

    def __init__(self, database: Database, every_seconds: float = _WRITTEN_EVERY_SECONDS) -> None:
        self._database = database
        self._every_seconds = every_seconds
        self._unwritten: dict[int, int] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None

    def note(self, sink_id: int, offset: int) -> None:
        """To be written soon."""
        self._unwritten[sink_id] = offset
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._every_seconds, self._begin_to_write)

    def forget(self, sink_id: int) -> None:
        """Another write says it."""
        self._unwritten.pop(sink_id, None)

    async def write(self) -> None:
        """Write all of them now. Raises StoreError; what was not written is kept."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._unwritten:
            return
        offsets, self._unwritten = self._unwritten, {}
        rows = [{"which": sink_id, "offset": offset} for sink_id, offset in offsets.items()]
        try:
            await self._database.run(_write, rows)
        except StoreError:
            for sink_id, offset in (offsets | self._unwritten).items():
                self.note(sink_id, offset)
            raise

    def _begin_to_write(self) -> None:
        self._timer = None
        self._writing = asyncio.create_task(self.write_if_possible(), name="acknowledged offsets")

    async def write_if_possible(self) -> None:
        """Write all of them now; what was not written is kept, and at the end sent again after the next start."""
        try:
            await self.write()
        except StoreError as error:
            log.warning("acknowledged offsets were not written", error=error.message)
