"""The requests of builds that repeat another one: a rebuild of its source, or a resume from where it failed."""

from collections.abc import Mapping
from typing import Any

from jenkins_pipelines.catalogue import PIPELINES
from shuttle.build import Api, Build, State
from shuttle.errors import ConflictError, InvalidRequestError, NotFoundError
from shuttle.lifecycle import Services
from shuttle.lifecycle.build_spec import read_spec
from shuttle.lifecycle.left_behind import check_files, left_secrets
from shuttle.lifecycle.stored_sources import find_source
from shuttle.request import BuildRequest, ParsedRequest, Resumed, ResumeRequest
from shuttle.sources.catalogue import read_source
from shuttle.sources.kind import Source
from shuttle.sources.kinds.earlier_build import EarlierSource
from shuttle.store.builds import find_build, find_newest
from shuttle.store.platforms import platform_records
from shuttle.store.resumes import check_left, check_resumable, resume_context
from shuttle.store.tx import Tx


async def rebuilt_request(build: Build, services: Services, *, latest: bool = False) -> ParsedRequest:
    """The request of the build with its stored source, so that the same commit is built.

    `latest`: with the newest commit of its branch instead.

    Raises:
        ConflictError: the build was not requested by the new API, or its source is not fetched yet, or deleted.
        InvalidRequestError: `latest` is set, but the source is no branch of a git repository.
    """
    request = await _request_of(build, services)
    if latest:
        changed = {"source": await _of_branch(build, request.source, services)}
        return ParsedRequest(request.model_copy(update=changed), (), ())
    if not build.state.final and build.staged_at is None:
        raise ConflictError("The source of this build is not fetched yet; wait until it is.")
    source = await _stored_source(build, request.source, services)
    return ParsedRequest(request.model_copy(update={"source": source}), (), ())


async def resumed_request(app_id: str, wanted: ResumeRequest, services: Services) -> ParsedRequest:
    """The request of the build that is to be resumed, with its stored source or the one that `wanted` names.

    Raises:
        NotFoundError: there is no such build. ConflictError: it cannot be resumed.
        InvalidRequestError: the source in `wanted` is invalid.
    """

    def find(tx: Tx) -> tuple[Build, Resumed]:
        build = find_newest(tx, app_id, wanted.build_id)
        if build is None:
            raise NotFoundError(f"There is no build {wanted.build_id} of {app_id} that could be resumed.")
        check_resumable(build)
        context = resume_context(tx, build, wanted.state_code)
        platforms = _resumed_platforms(tx, build, wanted.state_code)
        if not platforms:
            check_left(tx, context)
        return build, _resumed(build, context.resume_from_state, platforms)

    build, resumed = await services.database.run(find)
    secrets: list[str] = []
    for each in (resumed, *resumed.platforms.values()):
        await check_files(each.build_uuid, services)
        secrets += await left_secrets(each.build_uuid, services)
    request = await _request_of(build, services)
    if wanted.latest:
        source = await _of_branch(build, request.source, services)
    elif wanted.source is not None:
        source = _read_source(wanted, request)
    else:
        source = await _stored_source(build, request.source, services)
    platforms = tuple(platform for platform in request.platforms if platform.name in resumed.platforms)
    changed: dict[str, Any] = {"source": source, "checksum": None, "platforms": platforms or request.platforms}
    if wanted.automatic:
        changed["auto_resume"] = None if request.auto_resume is None else request.auto_resume.after_one()
        resumed = resumed.model_copy(update={"automatic": True})
    request = request.model_copy(update=changed)
    resumed = resumed.model_copy(update={"recorded": dict(wanted.recorded)})
    return ParsedRequest(request, wanted.ignored_fields, (), resumed, left_secrets=tuple(secrets))


def _resumed_platforms(tx: Tx, build: Build, state_code: int | None) -> dict[str, Resumed]:
    """The platforms of the build that are built again: those that have not succeeded, each from its own state.

    Each branch gets what the record of its platform has left. Raises ConflictError if something is missing there.
    """
    platforms = {}
    for name, child in platform_records(tx, build).items():
        if child.state is not State.SUCCEEDED:
            context = resume_context(tx, child, state_code)
            check_left(tx, context)
            platforms[name] = _resumed(child, context.resume_from_state)
    return platforms


def _resumed(build: Build, state_code: int, platforms: Mapping[str, Resumed] | None = None) -> Resumed:
    return Resumed(
        build_uuid=build.build_uuid, build_id=build.build_id, state_code=state_code, platforms=dict(platforms or {})
    )


def _read_source(wanted: ResumeRequest, request: BuildRequest) -> Source:
    given = wanted.source
    assert given is not None  # noqa: S101 - checked by the caller
    for name in ("checksum", "headers"):
        if getattr(given, name) is not None:
            raise InvalidRequestError(f"Leave {name} out of the source of a resumed build.", field=f"source.{name}")
    return read_source(given.url, PIPELINES[request.pipeline]).with_checkout(
        given.subdir, given.submodules, with_git=request.options.get("git") is True
    )


async def _request_of(build: Build, services: Services) -> BuildRequest:
    if build.api is not Api.NEW:
        raise ConflictError("Only builds that were requested by POST /:app_id/:build_id can be built again.")
    return (await read_spec(build.build_uuid, services.database, services.vault)).request


async def _of_branch(build: Build, source: Source, services: Services) -> Source:
    """The git source as it was first requested, so that its branch is fetched again.

    Raises InvalidRequestError if it names no branch, or if the build that first had it is no longer recorded.
    """
    while isinstance(source, EarlierSource):
        earlier = await services.database.run(find_build, source.object.lower())
        if earlier is None or earlier.api is not Api.NEW:
            raise InvalidRequestError("The build that had the git source is no longer recorded; leave latest out.")
        source = (await _request_of(earlier, services)).source
    if source.repository is None or (build.source.commit is not None and build.source.branch is None):
        raise InvalidRequestError("Leave latest out: the source of this build is no branch of a git repository.")
    return source


async def _stored_source(build: Build, source: Source, services: Services) -> Source:
    """See `source_again`. Raises ConflictError if the object store does not have it any more, and ObjectStoreError."""
    again = source_again(build, source)
    if isinstance(again, EarlierSource) and await find_source(again.object, services) is None:
        raise ConflictError("The source of this build is no longer stored; request a new build with a source.")
    return again


def source_again(build: Build, source: Source) -> Source:
    """The source as it was stored for the build; what was never stored is fetched again."""
    if build.source.sha256 is None:
        return source
    return EarlierSource(
        url=source.shown_url,
        object=build.build_uuid,
        commit=build.source.commit,
        branch=build.source.branch,
        git_url=source.repository,
    )
