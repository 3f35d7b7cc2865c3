"""The checks of `shuttle doctor`, one function per subject; each finding is one sentence that says what to do."""

import os
import shutil
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from shuttle.app import object_store
from shuttle.cli.findings import Finding, fine, problem, warning
from shuttle.cli.jenkins_examination import examine_jenkins
from shuttle.cli.key_examination import examine_key
from shuttle.cli.sink_examination import examine_sink
from shuttle.clock import Clock
from shuttle.errors import DatabaseInUseError, SettingsError, ShuttleError, StoreError
from shuttle.settings import GIB, Settings, load_settings, names_without_effect
from shuttle.store.sealed import sealed_samples
from shuttle.store.sqlite import SqliteDatabase

_ENOUGH_DISK_BYTES = 5 * GIB  # one source and one log of the largest default size, and some reserve


async def examine(
    *, try_jobs: bool, wait_seconds: float = 60, sinks: Sequence[str] = (), programs: bool = False
) -> list[Finding]:
    """All checks, in the order in which problems should be solved.

    With `programs`, the versions of an agent's programs are findings, too.
    """
    try:
        settings = load_settings()
    except SettingsError as error:
        return [problem("settings", line) for line in error.message.splitlines()]
    findings = [*_settings(settings)]
    findings += [finding async for finding in _database(settings)]
    findings += [finding async for finding in _objects(settings)]
    jenkins = examine_jenkins(settings, try_jobs=try_jobs, wait_seconds=wait_seconds, programs=programs)
    findings += [finding async for finding in jenkins]
    for url in sinks:
        async for host, wrong in examine_sink(url, settings):
            findings.append(fine("sink", f"{host} can be reached.") if wrong is None else problem("sink", wrong))
    return findings


def _settings(settings: Settings) -> list[Finding]:
    findings = [warning("settings", f"{name} has no effect; remove it.") for name in names_without_effect(os.environ)]
    if settings.binds_loopback:
        findings.append(fine("settings", f"valid; only this machine can connect to {settings.shuttle_bind}."))
    elif settings.shuttle_tokens:
        count = len(settings.shuttle_tokens)
        findings.append(fine("settings", f"valid; callers need a token (SHUTTLE_TOKENS has {count})."))
    else:
        sentence = "SHUTTLE_ALLOW_ANONYMOUS lets everybody who reaches the port start builds; set SHUTTLE_TOKENS."
        findings.append(warning("settings", sentence))
    if not settings.build_shuttle_host and settings.binds_loopback:
        sentence = "BUILD_SHUTTLE_HOST is not set: only agents on this machine can reach the service."
        findings.append(warning("settings", sentence))
    if shutil.which("git") is None:
        findings.append(warning("git", "is not installed on this machine: builds of git sources will fail."))
    return findings


async def _database(settings: Settings) -> AsyncIterator[Finding]:
    if not settings.postgres_url:
        async for finding in _sqlite(settings):
            yield finding
    else:
        from shuttle.cli.postgres_examination import examine_postgres

        async for finding in examine_postgres(settings):
            yield finding
    async for finding in _disk(settings):
        yield finding


async def _sqlite(settings: Settings) -> AsyncIterator[Finding]:
    path = settings.database_path
    try:
        with _existing_or_temporary(path) as tried:
            revision, sealed = await _migrated(tried)
    except DatabaseInUseError:
        yield fine("database", f"{path} is in use by a running shuttle.")
        return
    except (SettingsError, StoreError) as error:
        yield problem("database", f"{path}: {error}")
        return
    except OSError as error:
        yield problem("database", f"{path}: {error.strerror}; set SHUTTLE_DATA_DIR to a directory that can be written.")
        return
    if tried == path:
        yield fine("database", f"{path} can be written; its schema is {revision}.")
    else:
        yield fine("database", f"{path} does not exist yet and can be made; its schema will be {revision}.")
    yield examine_key(settings, sealed)


async def _disk(settings: Settings) -> AsyncIterator[Finding]:
    path = settings.shuttle_data_dir / "spool" if settings.postgres_url else settings.database_path
    free_bytes = shutil.disk_usage(_existing_folder(path)).free
    if free_bytes < _ENOUGH_DISK_BYTES:
        yield warning("disk", f"only {free_bytes // 2**20} MiB are free in {path.parent}; logs and sources need room.")


async def _migrated(path: Path) -> tuple[str, list[bytes]]:
    """Migrate the database; returns its revision and samples of its encrypted secrets."""
    database = SqliteDatabase(path, Clock())
    try:
        return await database.migrate(), await database.run(sealed_samples)
    finally:
        await database.close()


async def _objects(settings: Settings) -> AsyncIterator[Finding]:
    if settings.s3_bucket:
        yield await _object_store(settings, f"bucket {settings.s3_bucket}")
        return
    path = settings.shuttle_data_dir / "objects"
    try:
        with _existing_or_temporary(path) as tried:
            tried_settings = settings.model_copy(update={"shuttle_data_dir": tried.parent})
            found = await _object_store(tried_settings, f"directory {path}")
    except OSError as error:
        found = problem("objects", f"the directory {path}: {error.strerror}; set SHUTTLE_DATA_DIR to another one.")
    yield found


async def _object_store(settings: Settings, where: str) -> Finding:
    objects = object_store(settings)
    try:
        await objects.check()
    except ShuttleError as error:
        return problem("objects", f"the {where}: {error}")
    finally:
        await objects.close()
    return fine("objects", f"the {where} can be read and written.")


@contextmanager
def _existing_or_temporary(path: Path) -> Iterator[Path]:
    """`path` if it exists, else a path in a temporary folder next to it, so that nothing remains.

    The service may run as another user, who could not write files that the doctor made.
    """
    if path.exists():
        yield path
        return
    with TemporaryDirectory(prefix=".shuttle-doctor-", dir=_existing_folder(path)) as folder:
        yield Path(folder) / path.name


def _existing_folder(path: Path) -> Path:
    return next(folder for folder in path.absolute().parents if folder.exists())
