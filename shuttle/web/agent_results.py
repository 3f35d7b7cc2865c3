"""What a supervisor sends besides the log: progress, reports and artifacts."""

import asyncio
import re
from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import quote, unquote_to_bytes

from aiohttp import web
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from jenkins_pipelines.catalogue import PIPELINES
from shuttle.build import Build
from shuttle.errors import BodyTooLargeError, InvalidRequestError
from shuttle.lifecycle.plan import Plan
from shuttle.logs.transform import transform_beside
from shuttle.objects.local import local_disk
from shuttle.objects.names import artifact_object
from shuttle.request import decode_json
from shuttle.store.agent import Failure
from shuttle.store.builds import Artifact
from shuttle.store.claims import Claim
from shuttle.store.progress import StageEvent
from shuttle.web import PORTS
from shuttle.web.answers import json_answer
from shuttle.web.body import chunks_of, read_body, refuse_encoded
from shuttle.web.names import raw_segments

_MAX_REPORT_BYTES = 256 * 1024
_MAX_PROGRESS_BYTES = 4096
_MOST_ARTIFACTS = 1000
_REASON = re.compile(r"[a-z][a-z0-9_]{0,63}")
_NAME_SEGMENT = re.compile(r"(?!\.{1,2}\Z)[^/\\\x00-\x1f\x7f-\x9f]+")
_CONTENT_TYPE = re.compile(r"[!-~]+/[ -~]{1,200}")
# NUL and lone surrogates, which databases cannot store.
_NO_TEXT = re.compile(r"[\x00\ud800-\udfff]")
# S3 takes keys of 1,024 bytes; the build's uuid and `/artifacts/` stand before the name.
_MAX_NAME_BYTES = 900
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

Shape = TypeVar("Shape", bound=BaseModel)


def _storable(text: str) -> str:
    if _NO_TEXT.search(text):
        raise ValueError("Write texts without NUL characters and lone surrogates")
    return text


Text = Annotated[str, AfterValidator(_storable)]


class Report(BaseModel):
    """A fact about the build; `id` makes it idempotent, `reason` (a code) and `message` explain a failure."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    id: Annotated[Text, Field(min_length=1, max_length=200)]
    reason: Text | None = None
    message: Text | None = None
    image: Text | None = None
    digest: Text | None = None
    variables: dict[Text, Text] = {}


async def post_report(request: web.Request, build: Build, claim: Claim) -> web.StreamResponse:
    """`POST …/report`: recorded once per id; only the build's first reason is kept."""
    raw = await read_body(request, _MAX_REPORT_BYTES)
    report = _read(Report, raw)
    _check_image(report, build)
    ports = request.app[PORTS]
    if report.reason is not None and not _REASON.fullmatch(report.reason):
        raise InvalidRequestError("Write a reason as lower-case words joined by _.", field="reason")
    facts: dict[str, Any] = {
        name: value for name, value in (("image", report.image), ("digest", report.digest)) if value is not None
    }
    failure = None
    if report.reason is not None:
        plan = Plan.model_validate_json(await ports.store.plan(build.build_uuid))
        failure = Failure(report.reason, await _sentence(report.message, plan))
    sealed = ports.vault.seal(raw)  # a message can quote what is secret
    new = await ports.store.record_report(
        build.build_uuid, report.id, sealed, failure=failure, facts=facts, values=report.variables
    )
    return json_answer({"status": "OK", "recorded": new})


def _check_image(report: Report, build: Build) -> None:
    """Users' code can forge a report: an image counts only for a pipeline that pushes, and only as a destination."""
    if report.image is None and report.digest is None:
        return
    if not PIPELINES[build.pipeline].needs_destination:
        raise InvalidRequestError(f"The pipeline {build.pipeline} pushes no image.", field="image")
    if report.image not in build.destinations:
        raise InvalidRequestError("Name one of the build's destinations, with its tag.", field="image")
    if report.digest is not None and not _DIGEST.fullmatch(report.digest):
        raise InvalidRequestError("Write the digest as sha256: and 64 hex digits.", field="digest")


class Progress(BaseModel):
    """The begin or the end of a stage; `id` makes it idempotent."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    id: Annotated[Text, Field(min_length=1, max_length=200)]
    stage: Annotated[Text, Field(min_length=1, max_length=64)]
    event: Literal["begin", "end"]
    code: Annotated[int | None, Field(ge=-(2**31), lt=2**31)] = None
    status: Annotated[Text | None, Field(max_length=200)] = None


async def post_progress(request: web.Request, build: Build, claim: Claim) -> web.StreamResponse:
    """`POST …/progress`: a stage begins or ends; shown in the build's `stages`."""
    reported = _read(Progress, await read_body(request, _MAX_PROGRESS_BYTES))
    ports = request.app[PORTS]
    event = StageEvent(
        reported.id, claim.branch, reported.stage, reported.event, reported.code, reported.status, ports.clock.now()
    )
    new = await ports.store.record_progress(build.build_uuid, event)
    return json_answer({"status": "OK", "recorded": new})


def _read(shape: type[Shape], raw: bytes) -> Shape:
    try:
        return shape.model_validate(decode_json(raw))
    except ValidationError as error:
        problem = error.errors(include_input=False)[0]
        message = problem["msg"].removeprefix("Value error, ")
        raise InvalidRequestError(f"{message}.", field=".".join(map(str, problem["loc"]))) from None


async def _sentence(message: str | None, plan: Plan) -> str | None:
    """The message as one line of at most 1,000 characters. Masked before it is cut: statuses and answers show it."""
    if message is None:
        return None
    return " ".join((await transform_beside(message, plan.log_rules)).split())[:1000]


async def put_artifact(request: web.Request, build: Build, claim: Claim) -> web.StreamResponse:
    """`PUT …/artifacts/<name>`: stored under the build's uuid; sha256 and bytes are recorded."""
    ports = request.app[PORTS]
    name = artifact_name(raw_segments(request)[4:])
    limit_bytes = ports.settings.shuttle_max_artifact_bytes
    refuse_encoded(request)
    with local_disk(), NamedTemporaryFile(dir=ports.settings.shuttle_data_dir, prefix="artifact-") as file:
        digest, size_bytes = sha256(), 0
        async for chunk in chunks_of(request):
            size_bytes += len(chunk)
            if size_bytes > limit_bytes:
                raise BodyTooLargeError(f"An artifact may have {limit_bytes} bytes.")
            digest.update(chunk)
            await asyncio.to_thread(file.write, chunk)
        file.flush()
        # Its object would be nobody's if the file were refused afterwards only.
        await ports.store.expect_artifact(build.build_uuid, name, most=_MOST_ARTIFACTS)
        content_type = _content_type(request.headers.get("Content-Type", ""))
        await ports.objects.put(artifact_object(build.build_uuid, name), Path(file.name), content_type=content_type)
    artifact = Artifact(name, size_bytes, digest.hexdigest(), content_type)
    await ports.store.record_artifact(build.build_uuid, artifact, most=_MOST_ARTIFACTS)
    return json_answer({"status": "OK", "sha256": artifact.sha256, "bytes": size_bytes})


def _content_type(header: str) -> str:
    """The header as sent, if it can be sent back in an answer; else application/octet-stream."""
    return header if _CONTENT_TYPE.fullmatch(header) else "application/octet-stream"


def artifact_name(raw: list[str]) -> str:
    """The file's relative name, decoded once (agents send its slashes as %2F); 400 if it could leave its folder."""
    try:
        name = unquote_to_bytes("/".join(raw).encode("utf-8", "surrogateescape")).decode()
    except UnicodeDecodeError:
        raise InvalidRequestError("Percent-encode the artifact's name as UTF-8.", field="name") from None
    if not all(_NAME_SEGMENT.fullmatch(segment) for segment in name.split("/")):
        raise InvalidRequestError("Name the artifact by ordinary file names joined by /.", field="name")
    if len(quote(name)) > _MAX_NAME_BYTES:
        raise InvalidRequestError("Give the artifact a shorter name, or pack the files into one.", field="name")
    return name
