"""Retention removes expired objects and records, and nothing else."""

import asyncio
import errno
import os
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from cryptography.fernet import Fernet
from structlog.testing import capture_logs

from shuttle.build import Ending, SourceFacts, State
from shuttle.delivery import Outcome
from shuttle.errors import LocalDiskError, ObjectStoreError, StoreError
from shuttle.lifecycle import Services
from shuttle.lifecycle.log_pieces import LogPieces
from shuttle.lifecycle.owned_apps import OwnedApps
from shuttle.lifecycle.retain import Retention
from shuttle.lifecycle.stage import normalized_source
from shuttle.logs.library import LogLibrary
from shuttle.objects.directory import DirectoryStore
from shuttle.objects.names import artifact_object, log_object, piece_object, source_object
from shuttle.settings import load_settings
from shuttle.store.agent import ArtifactLimits, record_artifact
from shuttle.store.builds import Artifact, find_build
from shuttle.store.log_pieces import Piece, keep_piece
from shuttle.store.pending_uploads import hold_upload
from shuttle.store.retain import Expiring, expired_builds
from shuttle.store.stored_outbox import StoredOutbox
from shuttle.store.transitions import finish_build, mark_archived
from shuttle.vault import Vault
from tests.support.clock import SetClock
from tests.support.product import archive
from tests.support.shuttle_store import attempt_at, endpoint, new_build, open_database, record
from tests.unit.lifecycle.one_build import OneBuild

DAY_SECONDS = 86_400


class StoredBuild:
    """An ended build with all of its objects and its record."""

    def __init__(self, database: Any, objects: DirectoryStore, spools: Path, build_uuid: str) -> None:
        self.database, self.objects, self.spools, self.build_uuid = database, objects, spools, build_uuid

    async def parts(self) -> set[str]:
        names = {
            "source": source_object(self.build_uuid),
            "log": log_object(self.build_uuid),
            "artifact": artifact_object(self.build_uuid, "a b.txt"),
            "piece that the archive left": piece_object(self.build_uuid, 0, 1),
        }
        found = {part for part, name in names.items() if await self.objects.head(name) is not None}
        found |= {"spool"} if list(self.spools.glob(f"{self.build_uuid}.*")) else set()
        return found | ({"record"} if await self.database.run(find_build, self.build_uuid) is not None else set())


@pytest.fixture
async def parts_after_days(tmp_path: Path):
    clock, vault = SetClock(), Vault([Fernet.generate_key().decode()])
    objects = DirectoryStore(tmp_path / "objects")
    library = LogLibrary(tmp_path / "spool", objects, memory_bytes=1024)
    content = tmp_path / "content"
    content.write_bytes(b"x")
    async with open_database(tmp_path, clock) as database:
        new = new_build(vault, receivers=[endpoint(vault, "http://r.example/hook")])
        await record(database, vault, new, queue_limit=9)
        for name in (
            source_object(new.build_uuid),
            log_object(new.build_uuid),
            artifact_object(new.build_uuid, "a b.txt"),
            piece_object(new.build_uuid, 0, 1),
        ):
            await objects.put(name, content, content_type="text/plain")
        artifact = Artifact("a b.txt", 1, "00", "text/plain")
        await database.run(record_artifact, new.build_uuid, artifact, ArtifactLimits(max_count=9, max_bytes=9))
        await database.run(keep_piece, new.build_uuid, Piece(0, 1), (), None)
        await database.run(finish_build, new.build_uuid, Ending(State.FAILED, "source_not_found", "No."))
        await database.run(mark_archived, new.build_uuid)
        outbox = StoredOutbox(database, vault)
        while due := await outbox.due_deliveries(now=clock.steady(), limit=9, busy=frozenset()):
            for delivery in due:
                await outbox.record_attempt(attempt_at(delivery, clock, outcome=Outcome.DELIVERED))
        for suffix in ("log", "epoch"):  # a process that was killed before the archive has left them
            (tmp_path / "spool" / f"{new.build_uuid}.{suffix}").write_text("1")
        build = StoredBuild(database, objects, tmp_path / "spool", new.build_uuid)

        async def sweep_after_days(days: float, **settings: str) -> set[str]:
            clock.forward(days * DAY_SECONDS)
            services = SimpleNamespace(
                settings=load_settings({"SHUTTLE_DATA_DIR": str(tmp_path), **settings}),
                database=database,
                objects=objects,
                clock=clock,
                library=library,
                owned=OwnedApps(),
                pieces=LogPieces(database, objects, library, OwnedApps(), enabled=True),
            )
            await Retention(cast("Services", services)).sweep()
            return await build.parts()

        yield sweep_after_days
    await objects.close()


async def test_sources_are_removed_after_30_days_and_logs_after_90_and_records_never(parts_after_days):
    assert await parts_after_days(29) == {"source", "log", "artifact", "record"}
    assert await parts_after_days(2) == {"log", "artifact", "record"}
    assert await parts_after_days(60) == {"artifact", "record"}
    assert await parts_after_days(1000) == {"artifact", "record"}


async def test_spool_is_not_removed_before_the_archive(one: OneBuild):
    spool = one.services.settings.shuttle_data_dir / "spool" / f"{one.build_uuid}.log"
    spool.write_text("a log")
    await Retention(one.services).sweep()
    assert spool.exists()


async def test_a_spool_that_cannot_be_removed_keeps_nothing_else(parts_after_days, tmp_path: Path):
    folder = next((tmp_path / "spool").glob("*.log"))
    folder.unlink()
    folder.mkdir()
    with capture_logs() as logs:
        assert await parts_after_days(11, SHUTTLE_KEEP_RECORDS_DAYS="10") == {"spool"}
    assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == ["a spool cannot be removed"]


async def test_a_spool_folder_that_cannot_be_read_fails_the_sweep(one: OneBuild, monkeypatch: pytest.MonkeyPatch):
    def broken() -> list[str]:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(one.services.library, "on_disk", broken)
    with pytest.raises(LocalDiskError):
        await Retention(one.services).sweep()


async def test_a_source_that_a_replica_made_for_an_agent_is_removed_once_the_owner_has_archived_the_log(one: OneBuild):
    """The agent's calls reach any replica, and only the owner of the build knows when it is over."""
    folder = one.services.settings.shuttle_data_dir / "sources"
    await one.services.objects.put(source_object(one.build_uuid), _archive(one), content_type="application/gzip")
    digest = sha256(archive({"build.sh": "true"})).hexdigest()
    build = replace(await one.running(), source=SourceFacts(digest, 1, "application/gzip"))
    path = await normalized_source(build, one.services)
    await Retention(one.services).sweep()
    assert list(folder.iterdir()) == [path], "the agent may ask once more"
    await one.database.run(finish_build, one.build_uuid, Ending(State.SUCCEEDED))
    await one.database.run(mark_archived, one.build_uuid)
    async with one.services.signals.source_lock(one.build_uuid):
        await Retention(one.services).sweep()
        assert list(folder.iterdir()) == [path], "a copy is being made"
    await Retention(one.services).sweep()
    assert list(folder.iterdir()) == []


async def test_all_files_of_staging_that_a_killed_process_left_are_removed(one: OneBuild):
    folder = one.services.settings.shuttle_data_dir / "sources"
    unknown = "00000000-0000-4000-8000-000000000009"
    (folder / f"{unknown}.original.git" / "objects").mkdir(parents=True)
    names = [f"{unknown}.{end}" for end in ("original", "tar.gz", "tar.gz.part", "tar.again")]
    kept = [f"{one.build_uuid}.original", f"{one.build_uuid}.tar.gz"]
    for name in (*names, *kept):
        (folder / name).write_bytes(b"x")
    await Retention(one.services).sweep()
    assert sorted(path.name for path in folder.iterdir()) == kept


async def test_files_of_requests_that_a_killed_process_was_handling_are_removed_a_day_later(one: OneBuild):
    folder = one.services.settings.shuttle_data_dir
    left, kept = ["artifact-abcd_123", "data-source-abcd_123"], ["artifact-backup.tar", "artifact-young123"]
    for name in (*left, *kept):
        (folder / name).write_bytes(b"x")
        age_seconds = DAY_SECONDS + 60 if name != "artifact-young123" else DAY_SECONDS - 60
        os.utime(folder / name, (time.time() - age_seconds,) * 2)
    await Retention(one.services).sweep()
    assert [name for name in (*left, *kept) if (folder / name).exists()] == kept


def _archive(one: OneBuild) -> Path:
    path = one.services.settings.shuttle_data_dir / "source"
    path.write_bytes(archive({"build.sh": "true"}))
    return path


async def test_an_expired_record_is_removed_with_all_its_objects(parts_after_days):
    assert await parts_after_days(9, SHUTTLE_KEEP_RECORDS_DAYS="10") == {"source", "log", "artifact", "record"}
    assert await parts_after_days(2, SHUTTLE_KEEP_RECORDS_DAYS="10") == set()


async def test_sources_of_posts_that_recorded_no_build_are_removed_a_day_later(one: OneBuild, tmp_path: Path):
    """Sources of recorded builds are kept longer."""
    orphan = "00000000-0000-4000-8000-000000000009"
    content = tmp_path / "content"
    content.write_bytes(b"x")
    for build_uuid in (orphan, one.build_uuid):
        await one.services.objects.put(source_object(build_uuid), content, content_type="text/plain")
    await one.database.run(hold_upload, orphan, "ab" * 32, lambda _: None, new_object=True)
    retention = Retention(one.services)
    one.clock.forward(DAY_SECONDS - 1)
    await retention.sweep()
    assert await one.services.objects.head(source_object(orphan)) is not None
    one.clock.forward(2)
    await retention.sweep()
    assert await one.services.objects.head(source_object(orphan)) is None
    assert await one.services.objects.head(source_object(one.build_uuid)) is not None


async def test_unfinished_and_unarchived_builds_do_not_expire(one: OneBuild):
    one.clock.forward(1000 * DAY_SECONDS)
    await Retention(one.services).sweep()
    await one.database.run(finish_build, one.build_uuid, Ending(State.SUCCEEDED))
    one.clock.forward(1000 * DAY_SECONDS)
    await Retention(one.services).sweep()
    build = await one.database.run(find_build, one.build_uuid)
    assert build is not None
    assert await one.database.run(expired_builds, Expiring.LOG, one.clock.now(), limit=9) == []


async def test_failed_sweep_is_repeated(one: OneBuild, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("shuttle.lifecycle.retain._INTERVAL_SECONDS", 0.001)
    retention = Retention(one.services)
    sweeps = [StoreError("Away."), ObjectStoreError("Away."), RuntimeError("A bug."), None]
    done = asyncio.Event()

    async def sweep() -> None:
        error = sweeps.pop(0)
        if error is not None:
            raise error
        done.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(retention, "sweep", sweep)
    task = asyncio.create_task(retention.run())
    async with asyncio.timeout(5):
        await done.wait()
    task.cancel()
