"""The supervisor's reports: progress of stages, results and failures."""

import re
from typing import Annotated, Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jenkins_pipelines.catalogue import PIPELINES
from shuttle.build import Build
from shuttle.errors import ConflictError, GoneError, InvalidRequestError, StoreError
from shuttle.lifecycle.build_spec import BuildSpec, read_spec
from shuttle.logs.transform import transform_in_thread
from shuttle.request import decode_json
from shuttle.request.shape import refuse
from shuttle.store.agent import Failure, record_report
from shuttle.store.claims import Claim
from shuttle.store.progress import StageBoundary, StageEvent, record_stage_event
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

Shape = TypeVar("Shape", bound=BaseModel)


class Report(BaseModel):
    """A fact about the build; `id` makes it idempotent, `reason` (a code) and `message` explain a failure."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    id: Annotated[str, Field(min_length=1, max_length=200), STORABLE]
    reason: Annotated[str, Field(max_length=64), STORABLE] | None = None
    message: Text | None = None
    image: Annotated[str, Field(max_length=1024), STORABLE] | None = None
    digest: Annotated[str, Field(max_length=71), STORABLE] | None = None
    variables: dict[Annotated[str, Field(max_length=200), STORABLE], Text] = {}


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
        failure=failure,
        facts=facts,
        values=report.variables,
        seal=services.vault.seal,
    )
    return json_answer(Recorded(recorded=new))


def _check_image(report: Report, build: Build) -> None:
    """Accept an image only from pipelines that push, and only a destination: the user's code can forge reports."""
    if report.image is None and report.digest is None:
        return
    if not PIPELINES[build.pipeline].needs_destination:
        raise InvalidRequestError(f"The pipeline {build.pipeline} pushes no image.", field="image")
    if report.image not in build.destinations:
        raise InvalidRequestError("Name one of the build's destinations, with its tag.", field="image")
    if report.digest is not None and not _DIGEST.fullmatch(report.digest):
        raise InvalidRequestError("Write the digest as sha256: and 64 hex digits.", field="digest")


class Progress(BaseModel):
    """The beginning or the end of a stage; `id` makes it idempotent."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    id: Annotated[str, Field(min_length=1, max_length=200), STORABLE]
    stage: Annotated[str, Field(min_length=1, max_length=64), STORABLE]
    event: StageBoundary
    code: Annotated[int | None, Field(strict=True, ge=-(2**31), lt=2**31)] = None
    status: Annotated[str, Field(max_length=200), STORABLE] | None = None


@describe(Recorded, body=Progress, errors=(*JSON_ERRORS, ConflictError, GoneError, StoreError))
async def post_progress(request: web.Request, build: Build, claim: Claim) -> web.StreamResponse:
    """`POST …/progress`: a stage begins or ends. The build's `stages` show it."""
    reported = _read(Progress, await read_body(request, _MAX_PROGRESS_BYTES))
    services = request.app[SERVICES]
    event = StageEvent(
        reported.id, claim.branch, reported.stage, reported.event, exit_status=reported.code, status=reported.status
    )
    new = await services.database.run(record_stage_event, build.build_uuid, event)
    return json_answer(Recorded(recorded=new))


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
