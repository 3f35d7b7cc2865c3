"""Stage: fetch the source, check it, store the original, and make the normalized tar.gz that the pipeline fetches."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from shuttle.build import Build, SourceFacts
from shuttle.errors import (
    BuildFailedError,
    ObjectNotFoundError,
    StoreError,
    UnavailableError,
)
from shuttle.lifecycle import Services
from shuttle.lifecycle.backoff import Backoff
from shuttle.lifecycle.build_logs import write_preamble
from shuttle.lifecycle.build_spec import BuildSpec
from shuttle.lifecycle.stored_sources import check_digest, copy_object, fetch_stored_source
from shuttle.lifecycle.time_limit import TimeLimit
from shuttle.logs.transform import transform_in_thread
from shuttle.objects.local import local_disk
from shuttle.objects.names import source_object
from shuttle.sources import FetchedSource, SourceLimits
from shuttle.sources.archive import normalize
from shuttle.sources.git_command import clone_folder
from shuttle.sources.kind import Source
from shuttle.standing import Standing
from shuttle.store.transitions import become_staged, begin_staging

_T = TypeVar("_T")


async def stage(build: Build, spec: BuildSpec, services: Services) -> Build | None:
    """Take the build from recorded to staged; None = it ended meanwhile.

    Can be repeated at any point: a source that a killed process was fetching is fetched again.

    Raises:
        BuildFailedError: with a reason `source_…` or `archive_…` (docs/operating.md, "Reasons").
    """
    begun = await services.database.run(begin_staging, build.build_uuid)
    if begun is None:
        return None
    source = spec.request.source
    shown = source.logged(build.source_url)
    fetched = await source.fetch(_Staging(begun, spec.standing, services))
    if fetched is None:  # the agent fetches it
        line = f"-----> Source: {shown}\n"
        return await _staged(build, SourceFacts(), await transform_in_thread(line, spec.log_rules), services)
    _verify(fetched, spec)
    warnings = await _normalize_in_time(fetched, build, services)
    await _store_original(begun, fetched, services)
    await asyncio.to_thread(fetched.path.unlink, missing_ok=True)
    commit = () if fetched.commit is None else (_shown_commit(fetched),)
    size = f"{fetched.size_bytes} bytes, sha256 {fetched.sha256}"
    texts = (shown, *commit, size, *(f"Warning: {text}." for text in warnings))
    lines = "".join(f"-----> Source: {text}\n" for text in texts)
    facts = SourceFacts(
        fetched.sha256, fetched.size_bytes, fetched.content_type, commit=fetched.commit, branch=fetched.branch
    )
    return await _staged(build, facts, await transform_in_thread(lines, spec.log_rules), services)


def _shown_commit(fetched: FetchedSource) -> str:
    return f"commit {fetched.commit}" + ("" if fetched.branch is None else f" of the branch {fetched.branch}")


async def _staged(build: Build, facts: SourceFacts, line: str, services: Services) -> Build | None:
    """Record the staged source, and show it in the log while the build waits for a slot."""
    staged = await services.database.run(become_staged, build.build_uuid, facts, line)
    if staged is not None:
        write_preamble(staged, services.library.spool(build.build_uuid))
    return staged


@dataclass(frozen=True, slots=True)
class _Staging:
    """See `shuttle.sources.kind.Staging`; `standing` is that of the build's caller."""

    build: Build
    standing: Standing
    services: Services

    async def download(self, source: Source) -> FetchedSource:
        """See the port."""
        return await _fetch_in_time(self.build, source, self.services)

    async def copy_own(self) -> FetchedSource:
        """See the port."""
        build, services, into = self.build, self.services, _original_path(self.build, self.services)
        name, facts = source_object(build.build_uuid), build.source
        size_bytes, digest = await _retry_storage(build, services, lambda: copy_object(services.objects, name, into))
        check_digest(build, digest)
        content_type = facts.content_type or "application/octet-stream"
        return FetchedSource(into, size_bytes, digest, content_type)

    async def copy_earlier(self, build_uuid: str) -> FetchedSource:
        """See the port."""
        build, services, into = self.build, self.services, _original_path(self.build, self.services)
        return await _retry_storage(
            build, services, lambda: fetch_stored_source(build_uuid, self.standing, services, into)
        )


async def _fetch_in_time(build: Build, source: Source, services: Services) -> FetchedSource:
    """Fetch; retry temporary errors until SHUTTLE_STAGE_TIMEOUT_SECONDS after staging began.

    Waits for a place do not count: otherwise slow clones of other builds would end this one.
    """
    seconds, now = services.settings.shuttle_stage_timeout_seconds, services.clock.steady()
    limit = TimeLimit((build.staging_steady_at or now) + timedelta(seconds=seconds), services.clock)
    if limit.left_seconds <= 0:  # the shuttle was down that long: try once more
        limit = TimeLimit.of(min(seconds, 30), services.clock)

    async def fetched_in_time() -> FetchedSource:
        async with limit.in_place(services.fetchers[type(source)].place()):
            try:
                async with asyncio.timeout(_timeout_seconds(limit)):
                    return await _fetch(build, source, services)
            except TimeoutError:
                message = f"The source did not arrive within {seconds:g} seconds."
                raise BuildFailedError("source_timeout", message) from None

    try:
        return await Backoff(build.build_uuid, services).until(fetched_in_time, "the source", limit=limit)
    except StoreError:
        raise  # `Backoff` could not show why it waits; the worker stages the build again
    except UnavailableError as error:
        raise BuildFailedError("source_unreachable", error.message) from error


def _timeout_seconds(limit: TimeLimit) -> float:
    return max(limit.left_seconds, 0.01)


async def _fetch(build: Build, source: Source, services: Services) -> FetchedSource:
    fetcher = services.fetchers[type(source)]
    with local_disk():
        into = _original_path(build, services)
        into.parent.mkdir(parents=True, exist_ok=True)
        return await fetcher.fetch(source, into, _limits(services))


def _original_path(build: Build, services: Services) -> Path:
    return _sources_dir(services) / f"{build.build_uuid}.original"


def _verify(fetched: FetchedSource, spec: BuildSpec) -> None:
    wanted = spec.request.checksum
    if wanted is not None and wanted != fetched.sha256:
        message = f"The source's checksum is sha256:{fetched.sha256}, not sha256:{wanted}."
        raise BuildFailedError("source_checksum", message)


async def _normalize_in_time(fetched: FetchedSource, build: Build, services: Services) -> list[str]:
    """Check the source and make the tar.gz. A fault of this machine (a full disk, no memory) is retried for
    SHUTTLE_STAGE_TIMEOUT_SECONDS."""
    limit = TimeLimit.of(services.settings.shuttle_stage_timeout_seconds, services.clock)

    async def normalized() -> list[str]:
        async with limit.in_place(services.normalizing):
            return await normalize(fetched.path, normalized_path(build, fetched.sha256, services), _limits(services))

    try:
        backoff = Backoff(build.build_uuid, services)
        return await backoff.until(normalized, "the check of the source", limit=limit)
    except StoreError:
        raise
    except UnavailableError as error:
        raise BuildFailedError("archive_unchecked", error.message) from error


async def _retry_storage(build: Build, services: Services, step: Callable[[], Awaitable[_T]]) -> _T:
    """Repeat `step` until it succeeds: a fault of the shuttle's own storage never ends a build, it only delays it."""
    return await Backoff(build.build_uuid, services).until(step, "the storage of the source")


async def _store_original(build: Build, fetched: FetchedSource, services: Services) -> None:
    """Store the original under the build's uuid, unless it is a data: source, which acceptance has stored."""
    if build.source.sha256 is None:
        name, content_type = source_object(build.build_uuid), fetched.content_type
        put = services.objects.put
        await _retry_storage(
            build, services, lambda: put(name, fetched.path, content_type=content_type, sha256=fetched.sha256)
        )


def normalized_path(build: Build, sha256: str, services: Services) -> Path:
    """The path of the normalized tar.gz on this machine; `sha256` is that of the original.

    Two replicas may fetch the source of one build, if the first loses the app meanwhile. The branch or the file behind
    the URL may have changed between them, and only the source of one of them is recorded.
    """
    return _sources_dir(services) / f"{build.build_uuid}.{sha256}.tar.gz"


async def normalized_source(build: Build, services: Services) -> Path:
    """The tar.gz for the pipeline; made again from the stored original if this machine does not have it.

    Raises:
        ObjectNotFoundError: the recorded original is not (or no longer) in the object store.
        ObjectStoreError, LocalDiskError: retry later.
    """
    sha256 = build.source.sha256
    if build.staged_at is None or sha256 is None:
        raise ObjectNotFoundError("This build has no stored source.")
    path = normalized_path(build, sha256, services)
    # The agents of a build's platforms ask at the same time.
    async with services.signals.source_lock(build.build_uuid):
        if not path.exists():
            await _normalize_again(build, path, services)
    return path


async def _normalize_again(build: Build, path: Path, services: Services) -> None:
    original = path.with_suffix(".again")
    try:
        # Outside the semaphore: an object store that hangs for this replica would hold up the checks of other sources.
        _, digest = await copy_object(services.objects, source_object(build.build_uuid), original)
        check_digest(build, digest)
        async with services.normalizing:
            await normalize(original, path, _limits(services))
    finally:
        original.unlink(missing_ok=True)


def forget_local_source(build: Build, services: Services) -> None:
    """Remove the local files of staging; the original is kept in the object store."""
    for path in (*_sources_dir(services).glob(f"{build.build_uuid}.*.tar.gz"), _original_path(build, services)):
        with suppress(FileNotFoundError):
            path.unlink()
    shutil.rmtree(clone_folder(_original_path(build, services)), ignore_errors=True)


def local_sources(services: Services) -> dict[str, list[Path]]:
    """The files and folders of staging on this machine, by the uuids of their builds."""
    found: dict[str, list[Path]] = {}
    folder = _sources_dir(services)
    for path in folder.iterdir() if folder.is_dir() else ():
        found.setdefault(path.name.partition(".")[0], []).append(path)
    return found


def _sources_dir(services: Services) -> Path:
    return services.settings.shuttle_data_dir / "sources"


def _limits(services: Services) -> SourceLimits:
    settings = services.settings
    return SourceLimits(
        max_source_bytes=settings.shuttle_max_source_bytes, max_expanded_bytes=settings.shuttle_max_expanded_bytes
    )
