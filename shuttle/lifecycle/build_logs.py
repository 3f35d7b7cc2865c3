"""The logs of running builds, one for each: opened by the first call that needs it, closed with the build."""

import asyncio
from collections.abc import Sequence
from functools import partial
from weakref import WeakValueDictionary

from shuttle.build import Build
from shuttle.errors import NotOwnerError
from shuttle.lifecycle.build_log import BuildLog
from shuttle.lifecycle.build_spec import open_spec
from shuttle.lifecycle.log_pieces import LogPieces
from shuttle.lifecycle.owned_apps import OwnedApps
from shuttle.lifecycle.signals import Signals
from shuttle.logs import LogReader, Segment
from shuttle.logs.library import LogLibrary
from shuttle.logs.mask import Masker
from shuttle.logs.spool import Spool
from shuttle.logs.writer import LogWriter
from shuttle.store import Database, Tx
from shuttle.store.builds import find_build, reread, sealed_spec
from shuttle.store.claims import Claim, claims_of
from shuttle.store.fence import context_of_owner
from shuttle.store.log_segments import segments_of
from shuttle.store.progress import StageRow, marks_of, stages_of
from shuttle.vault import Vault


# After a takeover many logs are opened at once. A transaction costs more than its queries, so few of them read all.
def _find_writable(tx: Tx, build_uuid: str) -> tuple[Build, bytes, Sequence[Segment]] | None:
    """A claimed build that is not final, with its encrypted spec and its segments."""
    build = find_build(tx, build_uuid)
    if build is None or build.claimed_at is None or build.state.final:
        return None
    return build, sealed_spec(tx, build_uuid), segments_of(tx, build_uuid)


def _read_newest(tx: Tx, build: Build) -> tuple[Build, Sequence[StageRow], Sequence[Claim]]:
    return reread(tx, build), stages_of(tx, build.build_uuid), claims_of(tx, build.build_uuid)


def write_preamble(build: Build, spool: Spool) -> None:
    """Append the part of the recorded preamble that the spool lacks. Raises SpoolError."""
    preamble = build.preamble.encode()
    if spool.written_bytes < len(preamble):
        spool.append(preamble[spool.written_bytes :])


class BuildLogs:
    """Keeps one BuildLog for each build. Used from one event loop."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        library: LogLibrary,
        pieces: LogPieces,
        signals: Signals,
        *,
        owned: OwnedApps,
    ) -> None:
        self._owned = owned
        owned.subscribe(self._lose_app)
        self._database = database
        self._vault = vault
        self._library = library
        self._pieces = pieces
        self._signals = signals
        self._logs: dict[str, BuildLog] = {}
        self._opening: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @property
    def open_count(self) -> int:
        """How many logs are open."""
        return len(self._logs)

    def find(self, build_uuid: str) -> BuildLog | None:
        """The build's log, if it is open."""
        return self._logs.get(build_uuid)

    async def open(self, build_uuid: str) -> BuildLog | None:
        """The build's log, ready for writing; None = no step has claimed the build, or it is final.

        Raises SpoolError, StoreError, NotOwnerError if this process does not own the app, and ObjectStoreError if a
        lost spool cannot be restored now.
        """
        async with self._opening.setdefault(build_uuid, asyncio.Lock()):
            found = self._logs.get(build_uuid)
            if found is None:
                recorded = await self._database.run(_find_writable, build_uuid)
                if recorded is None:
                    return None
                found = self._logs[build_uuid] = await self._opened(*recorded)
            return found

    async def reader(self, build: Build) -> LogReader:
        """Reads the build's log; a lost spool is restored first if this process owns the app.

        Raises SpoolError, StoreError, and ObjectStoreError if a lost spool cannot be restored now.
        """
        if not self._pieces.are_in_spool(build):
            await self._pieces.restore(build)
            # If the log was archived meanwhile, its spool is gone, and a new one would stay empty.
            build = await self._database.run(reread, build)
        return self._library.reader(build)

    async def _opened(self, build: Build, sealed_spec: bytes, segments: Sequence[Segment]) -> BuildLog:
        owned = self._owned.ownership(build.app_id)
        if owned is None:
            raise NotOwnerError
        context = context_of_owner(owned)
        spec = open_spec(build.build_uuid, sealed_spec, self._vault)
        # In a thread: a thousand secrets take a second.
        masker = await asyncio.to_thread(Masker, spec.log_rules.secrets)
        stored = await self._pieces.restore(build)
        # Read last, with no await afterwards: `reload_claims` and `stop` do not reach a log before it is in `_logs`.
        build, stages, claims = await self._database.run(_read_newest, build)
        if self._owned.ownership(build.app_id) != owned:
            raise NotOwnerError  # the app was lost meanwhile, so `lose` has not found this log
        spool = self._library.spool(build.build_uuid)
        write_preamble(build, spool)
        writer = LogWriter(
            spool,
            spec.log_rules,
            masker,
            preamble_bytes=len(build.preamble.encode()),
            checkpoint=build.checkpoint,
            segments=segments,
            earlier=stored.checkpoint,
        )
        pieces = self._pieces.writer(build, writer, spool, stored, context)
        changes = writer.changes() if build.checkpoint is not None else None
        if pieces is not None and changes is not None:
            pieces.note(writer.offset, changes[1])
        wake = partial(self._signals.wake, build.build_uuid)
        opened = BuildLog(
            build.build_uuid,
            writer,
            spool,
            self._database,
            pieces,
            app_id=build.app_id,
            claims=claims,
            context=context,
            on_broken=wake,
            on_lost=lambda: self._lose(opened),
        )
        by_id = {claim.claim_id: claim for claim in claims}
        for stage, mark in marks_of(stages):
            if stage.claim_id in by_id:
                opened.mark_stage(by_id[stage.claim_id], mark)
        opened.stop_cause = build.stop_cause
        opened.time_limit_at = build.time_limit_at
        return opened

    async def reload_claims(self, build_uuid: str) -> None:
        """Reload the claims of an open log; call it after an attempt was claimed, begun, voided or ended.

        Then wakes the tasks that wait for the build: tasks woken by the transaction's own notice saw the old claims.
        """
        found = self._logs.get(build_uuid)
        if found is not None:
            found.use_claims(await self._database.run(claims_of, build_uuid))
            self._signals.wake(build_uuid)

    def stop(self, build_uuid: str, cause: str) -> None:
        """Send `cause` to the build's supervisors with the answer to their next push; the first cause is kept."""
        found = self._logs.get(build_uuid)
        if found is not None:
            found.stop_cause = found.stop_cause or cause

    def forget(self, build_uuid: str) -> None:
        """Drop the log of a final build."""
        found = self._logs.pop(build_uuid, None)
        if found is not None:
            found.forget_pieces()

    def _lose_app(self, app_id: str) -> None:
        """Another process has taken the app: an open log would write into a spool that the next owner here restores."""
        for found in [found for found in self._logs.values() if found.app_id == app_id]:
            self._lose(found)

    def _lose(self, lost: BuildLog) -> None:
        """Drop the log, so that further pushes are passed on to the new owner, and wake the build's task."""
        if self._logs.get(lost.build_uuid) is lost:
            del self._logs[lost.build_uuid]
        lost.lose()
        self._signals.wake(lost.build_uuid)

    def abandon(self) -> None:
        """Drop the uncommitted text of all logs at shutdown; the next process requests it from the agents again."""
        while self._logs:
            self._logs.popitem()[1].lose()
