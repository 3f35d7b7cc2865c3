"""Writes the acknowledged offsets of all sinks about once a second, in one transaction."""

import asyncio
from collections.abc import Mapping, Sequence

import sqlalchemy as sa
import structlog

from shuttle.errors import StoreError
from shuttle.store import Database
from shuttle.store.fence import as_owner_of
from shuttle.store.tables import apps, builds, sinks
from shuttle.store.tx import Tx

log = structlog.get_logger()

# After a kill, bytes that were acknowledged within this time may be sent again, with the same offsets.
_WRITTEN_EVERY_SECONDS = 1.0
# A sink that has ended is left out: its final offset was written when it ended.
_UPDATE = (
    sinks.update()
    .where(sinks.c.sink_id == sa.bindparam("which"), sinks.c.ended_at.is_(None))
    .values(acked_offset=sa.bindparam("offset"))
)


# Other replicas cannot take these apps until the transaction ends.
_MINE = (
    sa.select(sinks.c.sink_id)
    .join(builds, builds.c.build_uuid == sinks.c.build_uuid)
    .join(apps, apps.c.app_id == builds.c.app_id)
    .where(sinks.c.sink_id.in_(sa.bindparam("sinks", expanding=True)), apps.c.owner == sa.bindparam("instance"))
    .order_by(apps.c.app_id)
    .with_for_update(of=apps, key_share=True, read=True)
)


def _write(tx: Tx, rows: Sequence[Mapping[str, int]]) -> None:
    """Write the offsets of the sinks whose apps this process owns."""
    if not tx.alone:
        values = {"sinks": [row["which"] for row in rows], "instance": tx.instance}
        mine = set(tx.execute(_MINE, values).scalars())
        rows = [row for row in rows if row["which"] in mine]
    if rows:
        tx.execute(_UPDATE, rows)


class AckedOffsets:
    """Collects the newest offset of each sink. Written one by one, 1,000 sinks would need 1,000 writes a second."""

    def __init__(self, database: Database, every_seconds: float = _WRITTEN_EVERY_SECONDS) -> None:
        self._database = database
        self._every_seconds = every_seconds
        self._unwritten: dict[int, int] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None

    def note(self, sink_id: int, offset: int) -> None:
        """Write the offset within `every_seconds`."""
        self._unwritten[sink_id] = offset
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._every_seconds, self._begin_to_write)

    def forget(self, sink_id: int) -> None:
        """Drop the unwritten offset, because the caller writes it."""
        self._unwritten.pop(sink_id, None)

    async def write(self) -> None:
        """Write all offsets now. Raises StoreError; the offsets are then kept for the next write."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._unwritten:
            return
        offsets, self._unwritten = self._unwritten, {}
        rows = [{"which": sink_id, "offset": offset} for sink_id, offset in offsets.items()]
        try:
            with as_owner_of():  # several apps: `_write` checks each row
                await self._database.run(_write, rows)
        except StoreError:
            for sink_id, offset in (offsets | self._unwritten).items():
                self.note(sink_id, offset)
            raise

    def _begin_to_write(self) -> None:
        self._timer = None
        self._writing = asyncio.create_task(self.write_if_possible(), name="acknowledged offsets")

    async def write_if_possible(self) -> None:
        """Write all offsets now. If that fails they are kept; if it fails at a shutdown, bytes are sent again later."""
        try:
            await self.write()
        except StoreError as error:
            log.warning("acknowledged offsets were not written", error=error.message)
