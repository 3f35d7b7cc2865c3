"""The supervisor's reports: progress of stages, results and failures."""

import re
from typing import Annotated, Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jenkins_pipelines.catalogue import PIPELINES
from shuttle.build import Build
from shuttle.errors import (
    ConflictError,
    GoneError,
    InvalidRequestError,
    NotOwnerError,
    ObjectStoreError,
    StoreError,
)
from shuttle.lifecycle import Services
from shuttle.lifecycle.build_log import BuildLog
from shuttle.lifecycle.build_spec import BuildSpec, read_spec
from shuttle.logs.spool import SpoolError
from shuttle.logs.stage_places import StageMark
from shuttle.logs.transform import transform_in_thread
from shuttle.request import decode_json
from shuttle.request.shape import refuse
from shuttle.store.agent import Failure, record_report
from shuttle.store.claims import Claim
from shuttle.store.progress import StageBoundary, StageEvent, record_stage_event
from shuttle.store.record_artifacts import NewReference
from shuttle.web import SERVICES
from shuttle.web.agent_models import Recorded
from shuttle.web.answers import json_answer
from shuttle.web.body import read_body
from shuttle.web.description import JSON_ERRORS, describe
from shuttle.web.storable import STORABLE, Text

_MAX_REPORT_BYTES = 256 * 1024
_MAX_PROGRESS_BYTES = 4096
_REASON = re.compile(r"[a-z][a-z0-9_]{0,63}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*")
_MAX_REFERENCES = 200

Shape = TypeVar("Shape", bound=BaseModel)


class ReportedReference(BaseModel):
    """A result of the build that is stored elsewhere: what kind of thing it is, and where."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    type: Annotated[str, Field(min_length=1, max_length=100), STORABLE]
    location: Annotated[str, Field(min_length=1, max_length=1000), STORABLE]
    state: Annotated[int | None, Field(strict=True, ge=0, le=100)] = None


class Report(BaseModel):
    """A fact about the build; `id` makes it idempotent, `reason` (a code) and `message` explain a failure."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    id: Annotated[str, Field(min_length=1, max_length=200), STORABLE]
    reason: Annotated[str, Field(max_length=64), STORABLE] | None = None
    message: Text | None = None
    image: Annotated[str, Field(max_length=1024), STORABLE] | None = None
    digest: Annotated[str, Field(max_length=71), STORABLE] | None = None
    variables: dict[Annotated[str, Field(max_length=200), STORABLE], Text] = {}
    artifacts: Annotated[list[ReportedReference], Field(max_length=_MAX_REFERENCES)] = []


@describe(Recorded, body=Report, errors=(*JSON_ERRORS, ConflictError, GoneError, StoreError))
async def post_report(request: web.Request, build: Build, claim: Claim) -> web.StreamResponse:
    """`POST …/report`: record it once per id. Only the build's first reason is kept."""
    raw = await read_body(request, _MAX_REPORT_BYTES)
    report = _read(Report, raw)
    _check_image(report, build)
    services = request.app[SERVICES]
    if report.reason is not None and not _REASON.fullmatch(report.reason):
        raise InvalidRequestError("Write a reason as lower-case words joined by _.", field="reason")
    facts: dict[str, Any] = {
        name: value for name, value in (("image", report.image), ("digest", report.digest)) if value is not None
    }
    failure = None
    if report.reason is not None:
        spec = await read_spec(build.build_uuid, services.database, services.vault)
        failure = Failure(report.reason, await _sentence(report.message, spec))
    sealed = services.vault.seal(raw)  # a message may quote secrets
    new = await services.database.run(
        record_report,
        build.build_uuid,
        report.id,
        sealed,
        branch=claim.branch,
        failure=failure,
        facts=facts,
        values=report.variables,
        references=[_new_reference(artifact) for artifact in report.artifacts],
        seal=services.vault.seal,
    )
    return json_answer(Recorded(recorded=new))


def _new_reference(artifact: ReportedReference) -> NewReference:
    return NewReference(
        name=None,
        reference={"artifact_type": artifact.type, "artifact_path": artifact.location},
        state_code=artifact.state,
        resumable=True,
        final=True,
        expires_at=None,
    )


def _check_image(report: Report, build: Build) -> None:
    """Accept an image only from pipelines that make one.

    A pipeline that needs a destination may only report one of the build's: the user's code can forge reports. packer's
    template names the image, so the shuttle does not know it.
    """
    if report.image is None and report.digest is None:
        return
    kind = PIPELINES[build.pipeline]
    if kind.reports_image:
        if report.image is None or not _IMAGE.fullmatch(report.image):
            raise InvalidRequestError("Name the image as host/path:tag.", field="image")
    elif not kind.needs_destination:
        raise InvalidRequestError(f"The pipeline {build.pipeline} pushes no image.", field="image")
    elif report.image not in build.destinations:
        raise InvalidRequestError("Name one of the build's destinations, with its tag.", field="image")
    if report.digest is not None and not _DIGEST.fullmatch(report.digest):
        raise InvalidRequestError("Write the digest as sha256: and 64 lower-case hex digits.", field="digest")


class Progress(BaseModel):
    """The beginning or the end of a stage; `id` makes it idempotent.

    `state` is the code of the build's state from then on. `offset` is the size of the supervisor's own stream; it only
    counts if this call is made before the bytes that follow it are pushed.
    """

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    id: Annotated[str, Field(min_length=1, max_length=200), STORABLE]
    stage: Annotated[str, Field(min_length=1, max_length=64), STORABLE]
    event: StageBoundary
    state: Annotated[int | None, Field(strict=True, ge=-1, le=999)] = None
    offset: Annotated[int | None, Field(strict=True, ge=0, lt=10**15)] = None
    code: Annotated[int | None, Field(strict=True, ge=-(2**31), lt=2**31)] = None
    status: Annotated[str, Field(max_length=200), STORABLE] | None = None


@describe(
    Recorded,
    body=Progress,
    errors=(*JSON_ERRORS, ConflictError, GoneError, StoreError, NotOwnerError, ObjectStoreError),
)
async def post_progress(request: web.Request, build: Build, claim: Claim) -> web.StreamResponse:
    """`POST …/progress`: a stage begins or ends. The build's `stages` show it."""
    reported = _read(Progress, await read_body(request, _MAX_PROGRESS_BYTES))
    services = request.app[SERVICES]
    # Opened before the stage is recorded: a log that is opened afterwards reads the stage from the database itself.
    build_log = await _open_log(build, services)
    event = StageEvent(
        reported.id,
        claim.branch,
        reported.stage,
        reported.event,
        exit_status=reported.code,
        status=reported.status,
        code=reported.state,
        claim_id=claim.claim_id,
        raw_offset=reported.offset,
    )
    position = await services.database.run(record_stage_event, build.build_uuid, event)
    if position is not None and reported.offset is not None and build_log is not None:
        is_end = reported.event is StageBoundary.END
        build_log.mark_stage(claim, StageMark(reported.offset, is_end, position))
    return json_answer(Recorded(recorded=position is not None))


async def _open_log(build: Build, services: Services) -> BuildLog | None:
    """The build's log; None if its disk fails: the build's own task gets the same error."""
    try:
        return await services.logs.open(build.build_uuid)
    except SpoolError:
        return None


def _read(shape: type[Shape], raw: bytes) -> Shape:
    try:
        return shape.model_validate(decode_json(raw))
    except ValidationError as error:
        refuse(error, "")


async def _sentence(message: str | None, spec: BuildSpec) -> str | None:
    """The message as one line of at most 1,000 characters; masked before it is cut, because it becomes public."""
    if message is None:
        return None
    return " ".join((await transform_in_thread(message, spec.log_rules)).split())[:1000]
