"""Accept: check the request, record the build durably, and only then answer."""

import asyncio
import mmap
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from weakref import WeakValueDictionary

from shuttle.build import Api, Build, child_id_of, job_name_of
from shuttle.errors import (
    CannotRecordError,
    ConflictError,
    LocalDiskError,
    ObjectStoreError,
    OutcomeUnknownError,
    QueueFullError,
    StoreError,
    StoreFaultError,
    TokenNeededError,
)
from shuttle.lifecycle import Services
from shuttle.lifecycle.again import rebuilt_request, resumed_request
from shuttle.lifecycle.new_build import BuildIdentity, new_build
from shuttle.lifecycle.read_request import DecodedSource, decoded_source, read_body, read_legacy_body
from shuttle.lifecycle.uploads import Uploads
from shuttle.request import (
    UUID,
    LegacyRequest,
    ParsedRequest,
    ResumeRequest,
    canonical_json,
)
from shuttle.standing import Standing
from shuttle.store.build_numbers import take_number
from shuttle.store.fence import Ownership
from shuttle.store.idempotency import find_recorded, find_recorded_legacy
from shuttle.store.new_build import NewBuild
from shuttle.store.permitted import check_app, check_source
from shuttle.store.resume_lines import first_of_line, unfinished_successor
from shuttle.store.resumes import free_id
from shuttle.store.tx import Tx


@dataclass(frozen=True, slots=True)
class AcceptedBuild:
    """The facts in the answer 200; see `ParsedRequest`. `replayed`: an earlier request has recorded the build."""

    build: Build
    replayed: bool
    has_sinks: bool
    ignored_fields: tuple[str, ...]
    warnings: tuple[str, ...]


def _accepted(build: Build, parsed: ParsedRequest, *, replayed: bool) -> AcceptedBuild:
    return AcceptedBuild(build, replayed, bool(parsed.request.log_hooks), parsed.ignored_fields, parsed.warnings)


class Acceptance:
    """Turns request bodies into recorded builds. Safe for any number of tasks of one loop."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._uploads = Uploads(services)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def accept(self, app_id: str, build_id: str, body: bytes | mmap.mmap, standing: Standing) -> AcceptedBuild:
        """Record the build. Idempotent: an equal request returns the build that is recorded already.

        Raises:
            InvalidRequestError: 400, names the field. ConflictError: 409. QueueFullError: 429.
            CannotRecordError: 503, nothing was recorded, or that is unknown; the caller may retry.
        """
        await _group_concurrent_requests()
        read, content = await read_body(body, self._services)
        if isinstance(read, ResumeRequest):
            return await self.accept_resume(app_id, build_id, read, content, standing)
        return await self.accept_parsed(app_id, build_id, read, content, standing)

    async def accept_resume(
        self, app_id: str, build_id: str | None, wanted: ResumeRequest, content: bytes, standing: Standing
    ) -> AcceptedBuild:
        """Record a build that resumes another one; `build_id` None = `<old>-r1`, `-r2` and so on.

        An equal request gets the build that resumes it already, until that one has ended.

        Raises what `accept` raises, and NotFoundError: there is no build to resume.
        """
        with _storage_errors_as_unrecorded():
            first = await self._services.database.run(first_of_line, app_id, wanted.build_id)
        async with self._lock(f"resume {first}"):
            if build_id is not None and (known := await self._replay(app_id, build_id, content)) is not None:
                return replace(known, ignored_fields=wanted.ignored_fields)
            parsed = await resumed_request(app_id, wanted, self._services)
            run, same_request = self._services.database.run, self._same_request_as(content)
            assert parsed.resumes is not None  # noqa: S101 - `resumed_request` sets it
            successor = await run(unfinished_successor, parsed.resumes.build_uuid, same_request)
            if successor is not None:
                return _accepted(successor, parsed, replayed=True)
            if build_id is None:
                build_id = await run(free_id, app_id, wanted.build_id, "r", room=_room(parsed))
            return await self.accept_parsed(app_id, build_id, parsed, content, standing)

    async def accept_rebuild(
        self, build: Build, build_id: str | None, standing: Standing, *, latest: bool = False
    ) -> AcceptedBuild:
        """Record a build of the same source with the same request; `build_id` None = `<old>-b1`, `-b2` and so on.

        `latest`: with the newest commit of its branch. Raises what `accept` raises.
        """
        content = canonical_json({"rebuild_of": build.build_uuid, **({"latest": True} if latest else {})})
        if build_id is not None and (known := await self._replay(build.app_id, build_id, content)) is not None:
            return known
        parsed = await rebuilt_request(build, self._services, latest=latest)
        if build_id is None:
            build_id = await self._services.database.run(free_id, build.app_id, build.build_id, "b", room=_room(parsed))
        return await self.accept_parsed(build.app_id, build_id, parsed, content, standing)

    async def _replay(self, app_id: str, build_id: str, content: bytes) -> AcceptedBuild | None:
        """The build that an equal request has recorded; None = the ids are free. Raises ConflictError.

        A repeat is not checked again: the build that it resumes or repeats may have changed, or may be gone.
        """
        same_request = self._same_request_as(content)
        recorded = await self._services.database.run(find_recorded, app_id, build_id, same_request)
        return None if recorded is None else AcceptedBuild(recorded, True, False, (), ())

    async def accept_parsed(
        self, app_id: str, build_id: str, parsed: ParsedRequest, content: bytes, standing: Standing
    ) -> AcceptedBuild:
        """Record a build of a checked request; requests with equal `content` are repeats.

        Raises what `accept` raises.
        """
        build_uuid = build_id.lower() if UUID.fullmatch(build_id) else str(uuid.uuid4())
        identity = BuildIdentity(standing, Api.NEW, app_id, build_id, build_uuid)
        if parsed.request.source.data_url is not None:
            return await self._accept_locked(identity, parsed, content)
        with _storage_errors_as_unrecorded():
            await _group_concurrent_requests()
            return await self._record_row(new_build(identity, parsed, content, self._services), parsed, content)

    async def _accept_locked(self, identity: BuildIdentity, parsed: ParsedRequest, content: bytes) -> AcceptedBuild:
        """Take the lock and accept: an equal request may be storing the same source."""
        run, find = self._services.database.run, self._find_equal(identity, content)
        lock = self._lock(f"{identity.app_id}/{identity.build_id}")
        async with lock, decoded_source(parsed.request, self._services) as source:
            recorded = await run(find)
            if recorded is not None:
                return _accepted(recorded, parsed, replayed=True)
            return await self._record(identity, parsed, content, source)

    async def accept_legacy(self, body: bytes | mmap.mmap, host: str, standing: Standing) -> AcceptedBuild:
        """Record a build of the older API. Idempotent for its uuid; `host` is the request's Host header.

        Raises:
            LegacyRefusalError, InvalidRequestError: 400. TokenNeededError: 401, for an anonymous caller.
            ConflictError: 409. CannotRecordError: 503.
        """
        database = self._services.database
        legacy, content = await read_legacy_body(body, host, self._services)
        async with self._lock(legacy.build_uuid):
            # A request that fails these checks writes nothing under its uuid. The transaction repeats the first check,
            # and the copying of the source the second one, because the facts may have changed by then.
            await database.run(check_app, legacy.app_id, standing)
            if legacy.request.source.earlier_build is not None:
                await database.run(check_source, legacy.request.source.earlier_build, standing)
            async with decoded_source(legacy.request, self._services) as source:
                return await self._accept_legacy_locked(legacy, content, source, standing)

    async def _accept_legacy_locked(
        self, legacy: LegacyRequest, content: bytes, source: DecodedSource | None, standing: Standing
    ) -> AcceptedBuild:
        """Call it with the lock of the uuid held."""
        database, number = self._services.database, legacy.number_given
        if source is not None or number is None:
            recorded = await database.run(find_recorded_legacy, legacy.build_uuid, self._same_request_as(content))
            if recorded is not None:
                return _accepted(recorded, legacy.numbered(recorded.build_id), replayed=True)
        await _group_concurrent_requests()
        if number is None:
            job_name = job_name_of(legacy.app_id, self._services.settings.shuttle_jenkins_folder or None)
            number = await database.run(take_number, legacy.app_id, job_name, standing)
        identity = BuildIdentity(standing, Api.LEGACY, legacy.app_id, str(number), legacy.build_uuid)
        return await self._record(identity, legacy.numbered(number), content, source)

    @asynccontextmanager
    async def _lock(self, name: str) -> AsyncIterator[None]:
        """Lets equal requests to this process be accepted one after the other."""
        with _storage_errors_as_unrecorded():
            async with self._locks.setdefault(name, asyncio.Lock()):
                yield

    async def _record(
        self, identity: BuildIdentity, parsed: ParsedRequest, content: bytes, source: DecodedSource | None
    ) -> AcceptedBuild:
        """Store the source of the request, if it contains one, and then record the row that refers to it."""
        new = new_build(identity, parsed, content, self._services)
        if source is None:
            return await self._record_row(new, parsed, content)
        stored = await self._uploads.store(identity.build_uuid, source, self._find_equal(identity, content))
        if isinstance(stored, Build):
            return _accepted(stored, parsed, replayed=True)
        new = replace(
            new,
            build_uuid=stored,
            source_sha256=source.sha256,
            source_bytes=source.size_bytes,
            source_content_type=source.content_type,
        )
        try:
            accepted = await self._record_row(new, parsed, content)
        except (ConflictError, QueueFullError, TokenNeededError):
            await self._uploads.delete(stored, source.sha256)
            raise
        # After a StoreError the row may exist and need its source. If it does not exist, retention removes the source.
        if accepted.build.build_uuid != stored:  # another process has recorded an equal request meanwhile
            await self._uploads.delete(stored, source.sha256)
        return accepted

    async def _record_row(self, new: NewBuild, parsed: ParsedRequest, content: bytes) -> AcceptedBuild:
        # No limit for the older API: a refused POST leaves a stuck record in its clients, and the queue is durable.
        limit = self._services.settings.shuttle_queue_limit if new.api is Api.NEW else None
        accepted = await self._services.intake.record(
            new, queue_limit=limit, same_request=self._same_request_as(content)
        )
        if accepted.epoch is not None:
            self._services.owned.add(Ownership(new.app_id, accepted.epoch))
        elif not accepted.replayed:  # another replica owns the app, and begins the build
            self._services.owned.drop(new.app_id)
        return _accepted(accepted.build, parsed, replayed=accepted.replayed)

    def _find_equal(self, identity: BuildIdentity, content: bytes) -> Callable[[Tx], Build | None]:
        """Finds the build if an equal request has recorded it; raises ConflictError for a different request."""
        same_request = self._same_request_as(content)
        if identity.api is Api.LEGACY:
            return partial(find_recorded_legacy, build_uuid=identity.build_uuid, same_request=same_request)
        return partial(find_recorded, app_id=identity.app_id, build_id=identity.build_id, same_request=same_request)

    def _same_request_as(self, content: bytes) -> Callable[[str], bool]:
        return partial(self._services.vault.matches, content)


def _room(parsed: ParsedRequest) -> int:
    """How many characters the ids of the platforms' records have after that of the build."""
    return max((len(child_id_of("", platform.name)) for platform in parsed.request.platforms), default=0)


async def _group_concurrent_requests() -> None:
    """Let concurrent requests run the next step directly after one another, while its code is in the CPU's caches.

    Checking and sealing 50 requests at once took 310 µs of the loop's time each without this, and takes 230 with it.
    """
    await asyncio.sleep(0)


@contextmanager
def _storage_errors_as_unrecorded() -> Iterator[None]:
    try:
        yield
    except StoreFaultError:
        raise  # a retry would not help
    except OutcomeUnknownError as error:
        raise CannotRecordError(f"It is unknown whether the build was recorded: {error.message}") from error
    except (StoreError, ObjectStoreError, LocalDiskError) as error:
        raise CannotRecordError(f"The build was not recorded: {error.message}") from error
