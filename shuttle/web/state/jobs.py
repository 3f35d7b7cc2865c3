"""The jobs that run a build, below `/-/state`: those that callers record, and the Jenkins job of this service."""

from typing import Any

from aiohttp import web
from pydantic import AliasChoices, Field, RootModel

from shuttle.build import Build
from shuttle.errors import ConflictError, ForbiddenError, NotFoundError, StoreError
from shuttle.events import instant_text
from shuttle.store.record_jobs import JobRow, add_job, change_job, jobs_of, known_job
from shuttle.store.tx import Tx
from shuttle.web import SERVICES
from shuttle.web.description import describe
from shuttle.web.models import Instant, ResponseBody
from shuttle.web.state.answers import IGNORED_HEADERS, answer, created, created_replies
from shuttle.web.state.artifacts import lock_writable
from shuttle.web.state.bodies import SHAPE_ERRORS, StateBody, read_shape
from shuttle.web.state.build_forms import status_of
from shuttle.web.state.builds_named import build_in
from shuttle.web.state.fields import Message, Metadata, Name, NumberOrName
from shuttle.web.state.names import key_in
from shuttle.web.state.row_ids import id_in_build

_ERRORS = (*SHAPE_ERRORS, ForbiddenError, NotFoundError, ConflictError, StoreError)


class JobBody(StateBody):
    """A job of a CI system. In a change, null and absent fields stay as they are."""

    platform: Name | None = Field(None, validation_alias=AliasChoices("platform", "ci_platform", "orchestrator"))
    pipeline_name: Name | None = Field(None, validation_alias=AliasChoices("pipeline_name", "pipeline"))
    job_name: Name | None = Field(None, validation_alias=AliasChoices("job_name", "job"))
    job_number: NumberOrName | None = None
    job_url: Message | None = Field(None, validation_alias=AliasChoices("job_url", "url"))
    status: Name | None = None
    metadata: Metadata | None = None


class Job(ResponseBody):
    """A job that runs a build in a CI system."""

    id: str
    build_id: str
    platform: str | None
    pipeline_name: str | None
    job_name: str | None
    job_number: str | None
    job_url: str | None
    status: str | None
    metadata: dict[str, Any] | None
    created_at: Instant
    updated_at: Instant


class Jobs(RootModel[list[Job]]):
    """Jobs, the oldest first."""


@describe(body=JobBody, replies=created_replies(Job), errors=_ERRORS)
async def post_job(request: web.Request) -> web.StreamResponse:
    """`POST /-/state/builds/{build}/jobs`: record a job that runs the build."""
    build = await build_in(request)
    fields = (await read_shape(request, JobBody)).given()

    def record(tx: Tx) -> tuple[Build, JobRow, bool]:
        written = lock_writable(tx, build.build_uuid)
        return written, *add_job(tx, written.build_uuid, fields)

    written, row, is_new = await request.app[SERVICES].database.run(record)
    return created(request, _entry(written, row), is_new=is_new)


@describe(Jobs, errors=(ForbiddenError, NotFoundError, StoreError))
async def list_jobs(request: web.Request) -> web.StreamResponse:
    """`GET /-/state/builds/{build}/jobs`: the jobs."""
    build = await build_in(request)
    rows = await request.app[SERVICES].database.run(jobs_of, build.build_uuid)
    return answer(request, Jobs([*_jenkins_job(build), *(_entry(build, row) for row in rows)]))


@describe(Job, errors=(ForbiddenError, NotFoundError, StoreError))
async def get_job(request: web.Request) -> web.StreamResponse:
    """`GET /-/state/builds/{build}/jobs/{job}`: one job."""
    build, key = await build_in(request), key_in(request, "job", "Job")
    for own in _jenkins_job(build):
        if own.id == key.lower():
            return answer(request, own)
    return answer(request, _entry(build, await request.app[SERVICES].database.run(known_job, build.build_uuid, key)))


@describe(Job, body=JobBody, errors=_ERRORS, headers=IGNORED_HEADERS)
async def patch_job(request: web.Request) -> web.StreamResponse:
    """`PATCH /-/state/builds/{build}/jobs/{job}`: change what is given."""
    build, key = await build_in(request), key_in(request, "job", "Job")
    fields = (await read_shape(request, JobBody)).given()

    def change(tx: Tx) -> tuple[Build, JobRow]:
        written = lock_writable(tx, build.build_uuid)
        return written, change_job(tx, written.build_uuid, key, fields)

    written, row = await request.app[SERVICES].database.run(change)
    return answer(request, _entry(written, row))


def _jenkins_job(build: Build) -> list[Job]:
    """The Jenkins build by which this service runs the build, if there is one."""
    if build.build_number is None:
        return []
    began_at = instant_text(build.queued_at or build.accepted_at)
    return [
        Job(
            id=id_in_build(build.build_uuid, "jenkins job"),
            build_id=build.build_uuid,
            platform="jenkins",
            pipeline_name=build.pipeline,
            job_name=build.job_name,
            job_number=str(build.build_number),
            job_url=None,
            status=status_of(build),
            metadata=None,
            created_at=began_at,
            updated_at=instant_text(build.finished_at) if build.finished_at else began_at,
        )
    ]


def _entry(build: Build, row: JobRow) -> Job:
    names = ("platform", "pipeline_name", "job_name", "job_number", "job_url", "status", "metadata")
    return Job(
        **{name: row.fields.get(name) for name in names},
        id=row.job_id,
        build_id=build.build_uuid,
        created_at=instant_text(row.created_at),
        updated_at=instant_text(row.updated_at),
    )
