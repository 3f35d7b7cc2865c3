"""Retention removes expired objects and records, and nothing else."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from cryptography.fernet import Fernet

from shuttle.build import Ending, State
from shuttle.lifecycle import Services
from shuttle.lifecycle.retain import Retention
from shuttle.objects.directory import DirectoryStore
from shuttle.objects.names import artifact_object, log_object, source_object
from shuttle.settings import load_settings
from shuttle.store.agent import ArtifactLimits, record_artifact
from shuttle.store.builds import Artifact, find_build
from shuttle.store.transitions import finish_build, mark_archived
from shuttle.vault import Vault
from tests.support.clock import SetClock
from tests.support.shuttle_store import endpoint, new_build, open_database, record

DAY_SECONDS = 86_400


class StoredBuild:
    """An ended build with all of its objects and its record."""

    def __init__(self, database: Any, objects: DirectoryStore, build_uuid: str) -> None:
        self.database, self.objects, self.build_uuid = database, objects, build_uuid

    async def parts(self) -> set[str]:
        names = {
            "source": source_object(self.build_uuid),
            "log": log_object(self.build_uuid),
            "artifact": artifact_object(self.build_uuid, "a b.txt"),
        }
        found = {part for part, name in names.items() if await self.objects.head(name) is not None}
        return found | ({"record"} if await self.database.run(find_build, self.build_uuid) is not None else set())


@pytest.fixture
async def parts_after_days(tmp_path: Path):
    clock, vault = SetClock(), Vault([Fernet.generate_key().decode()])
    objects = DirectoryStore(tmp_path / "objects")
    content = tmp_path / "content"
    content.write_bytes(b"x")
    async with open_database(tmp_path, clock) as database:
        new = new_build(vault, receivers=[endpoint(vault, "http://r.example/hook")])
        await record(database, vault, new, queue_limit=9)
        for name in (
            source_object(new.build_uuid),
            log_object(new.build_uuid),
            artifact_object(new.build_uuid, "a b.txt"),
        ):
            await objects.put(name, content, content_type="text/plain")
        artifact = Artifact("a b.txt", 1, "00", "text/plain")
        await database.run(record_artifact, new.build_uuid, artifact, ArtifactLimits(max_count=9, max_bytes=9))
        await database.run(finish_build, new.build_uuid, Ending(State.FAILED, "source_not_found", "No."))
        await database.run(mark_archived, new.build_uuid)
        build = StoredBuild(database, objects, new.build_uuid)

        async def sweep_after_days(days: float, **settings: str) -> set[str]:
            clock.forward(days * DAY_SECONDS)
            services = SimpleNamespace(
                settings=load_settings(settings), database=database, objects=objects, clock=clock
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


async def test_an_expired_record_is_removed_with_all_its_objects(parts_after_days):
    assert await parts_after_days(9, SHUTTLE_KEEP_RECORDS_DAYS="10") == {"source", "log", "artifact", "record"}
    assert await parts_after_days(2, SHUTTLE_KEEP_RECORDS_DAYS="10") == set()
