"""Accept: check the request, record the build durably, and only then answer."""

import asyncio
import mmap
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from weakref import WeakValueDictionary

from shuttle.build import Api, Build, job_name_of
from shuttle.errors import (
    CannotRecordError,
    ConflictError,
    LocalDiskError,
    ObjectStoreError,
    QueueFullError,
    StoreError,
    StoreFaultError,
    TokenNeededError,
)
from shuttle.lifecycle import Services
from shuttle.lifecycle.build_spec import is_data, make_spec, shown_source_url, token_digest
from shuttle.lifecycle.read_request import DecodedSource, decoded_source, read_body, read_legacy_body
from shuttle.objects.names import source_object
from shuttle.outgoing.hooks import Hook, kind_of, shown_host
from shuttle.request import UUID, LegacyRequest, ParsedRequest
from shuttle.standing import Standing
from shuttle.store.accept import NewBuild, NewEndpoint, free_uuid, target_bytes
from shuttle.store.build_numbers import take_number
from shuttle.store.idempotency import find_recorded, find_recorded_legacy
from shuttle.store.pending_uploads import register_upload
from shuttle.store.permitted import check_app, check_source

# Callers in the field wait 60 s for the answer; a store that says nothing would hold theirs for 90.
_LONGEST_PUT_SECONDS = 45.0


@dataclass(frozen=True, slots=True)
class AcceptedBuild:
    """What the caller is told beside 200: see `ParsedRequest`; `replayed` = recorded before."""

    build: Build
    replayed: bool
    has_sinks: bool
    ignored_fields: tuple[str, ...]
    warnings: tuple[str, ...]


def _accepted(build: Build, parsed: ParsedRequest, *, replayed: bool) -> AcceptedBuild:
    return AcceptedBuild(build, replayed, bool(parsed.request.log_hooks), parsed.ignored_fields, parsed.warnings)


@dataclass(frozen=True, slots=True)
class _Name:
    """The ids of the new build, its API, and the standing of its caller."""

    standing: Standing
    api: Api
    app_id: str
    build_id: str
    build_uuid: str


class Acceptance:
    """The lock: turns bodies into recorded builds. Safe for any number of tasks of one loop."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def accept(self, app_id: str, build_id: str, body: bytes | mmap.mmap, standing: Standing) -> AcceptedBuild:
        """Record the build, once.

        Raises:
            InvalidRequestError: 400, names the field. ConflictError: 409. QueueFullError: 429.
            CannotRecordError: 503, nothing was recorded; ask again.
        """
        await _with_others()
        parsed, content = await read_body(body, self._services)
        if is_data(parsed.request) or UUID.fullmatch(build_id):
            return await self._accept_alone(app_id, build_id, parsed, content, standing)
        with _told_as_unrecorded():
            await _with_others()
            name = _Name(standing, Api.NEW, app_id, build_id, str(uuid.uuid4()))
            return await self._record(name, parsed, content, None)

    async def _accept_alone(
        self, app_id: str, build_id: str, parsed: ParsedRequest, content: bytes, standing: Standing
    ) -> AcceptedBuild:
        """A request whose source or whose uuid another one may bring, too."""
        lock = self._lock(build_id.lower() if UUID.fullmatch(build_id) else f"{app_id}/{build_id}")
        async with lock, decoded_source(parsed.request, self._services) as source:
            if source is not None:
                recorded = await self._services.database.run(find_recorded, app_id, build_id, self._same_as(content))
                if recorded is not None:
                    return _accepted(recorded, parsed, replayed=True)
            name = _Name(standing, Api.NEW, app_id, build_id, await self._uuid_for(build_id))
            return await self._record(name, parsed, content, source)

    async def accept_legacy(self, body: bytes | mmap.mmap, host: str, standing: Standing) -> AcceptedBuild:
        """Record a build that the older API asks for, once for its uuid; `host` is the request's own Host.

        Raises:
            LegacyRefusalError, InvalidRequestError: 400. TokenNeededError: 401, for an anonymous caller.
            ConflictError: 409. CannotRecordError: 503.
        """
        database = self._services.database
        asked, content = await read_legacy_body(body, host, self._services)
        async with self._lock(asked.build_uuid):
            # Decided again where it counts, in the transaction and when the source is copied; here before anything is
            # written under that uuid.
            await database.run(check_app, asked.app_id, standing)
            if asked.request.source_object is not None:
                await database.run(check_source, asked.request.source_object, standing)
            async with decoded_source(asked.request, self._services) as source:
                return await self._accept_legacy_alone(asked, content, source, standing)

    async def _accept_legacy_alone(
        self, asked: LegacyRequest, content: bytes, source: DecodedSource | None, standing: Standing
    ) -> AcceptedBuild:
        """The only request for its uuid at this moment."""
        database, number = self._services.database, asked.number_given
        if source is not None or number is None:
            recorded = await database.run(find_recorded_legacy, asked.build_uuid, self._same_as(content))
            if recorded is not None:
                return _accepted(recorded, asked.numbered(recorded.build_id), replayed=True)
        await _with_others()
        if number is None:
            number = await database.run(take_number, asked.app_id, self._job_name(asked.app_id), standing)
        name = _Name(standing, Api.LEGACY, asked.app_id, str(number), asked.build_uuid)
        return await self._record(name, asked.numbered(number), content, source)

    @asynccontextmanager
    async def _lock(self, name: str) -> AsyncIterator[None]:
        """Two requests that could get one uuid must not write each other's source."""
        with _told_as_unrecorded():
            async with self._locks.setdefault(name, asyncio.Lock()):
                yield

    async def _uuid_for(self, build_id: str) -> str:
        """A build id in UUID form that no build has is also the build's uuid."""
        if UUID.fullmatch(build_id):
            return await self._services.database.run(free_uuid, build_id.lower())
        return str(uuid.uuid4())

    async def _record(
        self, name: _Name, parsed: ParsedRequest, content: bytes, source: DecodedSource | None
    ) -> AcceptedBuild:
        """The row; a source that came along goes to the object store before the row that promises it."""
        new = self._new_build(name, parsed, content)
        if source is None:
            return await self._record_row(new, parsed, content)
        await self._keep(name.build_uuid, source)
        new = replace(
            new,
            source_sha256=source.sha256,
            source_bytes=source.size_bytes,
            source_content_type=source.content_type,
        )
        try:
            return await self._record_row(new, parsed, content)
        except (ConflictError, QueueFullError, TokenNeededError):
            await self._services.objects.delete(source_object(name.build_uuid))
            raise
        # After a StoreError the row may be there all the same: then the source is its own, else retention removes it.

    async def _record_row(self, new: NewBuild, parsed: ParsedRequest, content: bytes) -> AcceptedBuild:
        # A refused POST strands a record at the older API's clients, and its queue is durable: it has no limit.
        limit = self._services.settings.shuttle_queue_limit if new.api is Api.NEW else None
        accepted = await self._services.intake.record(new, queue_limit=limit, same_request=self._same_as(content))
        return _accepted(accepted.build, parsed, replayed=accepted.replayed)

    async def _keep(self, build_uuid: str, source: DecodedSource) -> None:
        """Put it where it rests; registered before, so that it is found if the build is never recorded."""
        name = source_object(build_uuid)
        try:
            async with asyncio.timeout(_LONGEST_PUT_SECONDS):
                known = await self._services.objects.head(name)
                await self._services.database.run(register_upload, build_uuid, new_object=known is None)
                await self._services.objects.put(name, source.path, content_type=source.content_type)
        except TimeoutError:
            raise ObjectStoreError("The object store does not take the source in time.") from None

    def _new_build(self, name: _Name, parsed: ParsedRequest, content: bytes) -> NewBuild:
        request, settings, vault = parsed.request, self._services.settings, self._services.vault
        spec = make_spec(request, name.standing, settings)
        payload_format = "standard" if name.api is Api.NEW else "legacy"
        return NewBuild(
            standing=name.standing,
            api=name.api,
            build_uuid=name.build_uuid,
            app_id=name.app_id,
            build_id=name.build_id,
            job_name=self._job_name(name.app_id),
            controller="",
            plan=vault.seal(spec.model_dump_json().encode()),
            token_digest=token_digest(spec.token),
            request_fingerprint=vault.fingerprint(content),
            metadata_json=request.metadata_json,
            human_readable_info=request.human_readable_info,
            labels=request.labels,
            pipeline=request.pipeline,
            destinations=request.destinations,
            source_url=shown_source_url(request),
            timeout_seconds=request.timeout_seconds,
            deadline_seconds=settings.shuttle_build_deadline_seconds,
            receivers=self._endpoints(request.status_hooks, payload_format),
            sinks=self._endpoints(request.log_hooks, payload_format),
        )

    def _same_as(self, content: bytes) -> Callable[[str], bool]:
        return partial(self._services.vault.matches, content)

    def _job_name(self, app_id: str) -> str:
        return job_name_of(app_id, self._services.settings.shuttle_jenkins_folder or None)

    def _endpoints(self, hooks: Sequence[Hook], payload_format: str) -> list[NewEndpoint]:
        seal = self._services.vault.seal
        return [
            NewEndpoint(
                kind_of(hook.url),
                shown_host(hook.url),
                seal(target_bytes(hook.url, dict(hook.headers))),
                payload_format,
            )
            for hook in hooks
        ]


async def _with_others() -> None:
    """Let requests that came in together take this step one after another: its code is in the caches from the second
    one on. Checking and sealing 50 at once cost 310 µs of the loop's time each without this and 230 with it.
    """
    await asyncio.sleep(0)


@contextmanager
def _told_as_unrecorded() -> Iterator[None]:
    try:
        yield
    except StoreFaultError:
        raise  # asking again would not help
    except (StoreError, ObjectStoreError, LocalDiskError) as error:
        raise CannotRecordError(f"The build was not recorded: {error.message}") from error
