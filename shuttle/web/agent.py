"""What the pipeline on the agent calls, with the build's token and nothing else (contract, section 6)."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Annotated, Any
from urllib.parse import quote, unquote_to_bytes

from aiohttp import web
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from jenkins_pipelines.environment import environment_archive
from shuttle.build import Build
from shuttle.errors import (
    BodyTooLargeError,
    ConflictError,
    InvalidRequestError,
    UnauthorizedError,
)
from shuttle.lifecycle.plan import Plan, agent_environment
from shuttle.logs.transform import transform_line
from shuttle.objects.local import local_disk
from shuttle.objects.names import artifact_object
from shuttle.request import decode_json
from shuttle.store.builds import Artifact
from shuttle.web import PORTS, Handler
from shuttle.web.answers import json_answer
from shuttle.web.auth import is_token
from shuttle.web.body import read_body
from shuttle.web.names import raw_segments
from shuttle.web.sources import get_flattened

_MAX_REPORT_BYTES = 256 * 1024
_MOST_ARTIFACTS = 1000
_REASON = re.compile(r"[a-z][a-z0-9_]{0,63}")
_NAME_SEGMENT = re.compile(r"(?!\.{1,2}\Z)[^/\\\x00-\x1f\x7f-\x9f]+")
_CONTENT_TYPE = re.compile(r"[!-~]+/[ -~]{1,200}")
# Databases have neither.
_NO_TEXT = re.compile(r"[\x00\ud800-\udfff]")
# S3 takes keys of 1,024 bytes; the build's uuid and `/artifacts/` stand before the name.
_MAX_NAME_BYTES = 900

AgentHandler = Callable[[web.Request, Build, Plan], Awaitable[web.StreamResponse]]


def with_token(handler: AgentHandler) -> Handler:
    """For callers that carry the token of the build that the path names, until Jenkins confirmed its end."""

    async def checked(request: web.Request) -> web.StreamResponse:
        ports = request.app[PORTS]
        build = await ports.store.build(request.match_info["build_uuid"].lower())
        refused = UnauthorizedError(
            "Send the build's own token; it is valid until the build ends.", headers={"WWW-Authenticate": "Bearer"}
        )
        if build is None or build.state.final:
            raise refused
        plan = Plan.model_validate_json(await ports.store.plan(build.build_uuid))
        if not is_token(request.headers.get("Authorization", ""), plan.token):
            raise refused
        return await handler(request, build, plan)

    return checked


async def post_claim(request: web.Request, build: Build, plan: Plan) -> web.StreamResponse:
    """`POST …/claim {"number": N}`: the first Jenkins build gets it; 409 for any other."""
    body = decode_json(await read_body(request, _MAX_REPORT_BYTES))
    number = body.get("number") if isinstance(body, dict) else None
    if not isinstance(number, int) or isinstance(number, bool) or not 0 < number < 2**53:
        raise InvalidRequestError("Write Jenkins' build number, a whole number above 0.", field="number")
    ports = request.app[PORTS]
    if not await ports.store.claim(build.build_uuid, number):
        raise ConflictError("This build is not yours to run: it was claimed by another, or stopped.")
    ports.signals.wake(build.build_uuid)
    return json_answer({"status": "OK"})


async def get_source(request: web.Request, build: Build, plan: Plan) -> web.StreamResponse:
    """`GET …/source.tar.gz`."""
    return await get_flattened(request, build)


async def get_environment(request: web.Request, build: Build, plan: Plan) -> web.StreamResponse:
    """`GET …/environment`: arguments and registry credentials as plain files in a tar.gz."""
    archive = environment_archive(agent_environment(build, plan))
    return web.Response(body=archive, content_type="application/gzip", headers={"Cache-Control": "no-store"})


def _storable(text: str) -> str:
    if _NO_TEXT.search(text):
        raise ValueError("Write texts without NUL characters and lone surrogates")
    return text


Text = Annotated[str, AfterValidator(_storable)]


class Report(BaseModel):
    """What a pipeline has to say; `id` makes it idempotent, `reason` explains a failure."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    id: Annotated[Text, Field(min_length=1, max_length=200)]
    state: Text | None = None
    reason: Text | None = None
    message: Text | None = None
    image: Text | None = None
    digest: Text | None = None
    variables: dict[Text, Text] = {}


async def post_report(request: web.Request, build: Build, plan: Plan) -> web.StreamResponse:
    """`POST …/report`: remembered once an id; the first reason given stays."""
    raw = await read_body(request, _MAX_REPORT_BYTES)
    try:
        report = Report.model_validate(decode_json(raw))
    except ValidationError as error:
        problem = error.errors(include_input=False)[0]
        message = problem["msg"].removeprefix("Value error, ")
        raise InvalidRequestError(f"{message}.", field=".".join(map(str, problem["loc"]))) from None
    if report.reason is not None and not _REASON.fullmatch(report.reason):
        raise InvalidRequestError("Write a reason as lower-case words joined by _.", field="reason")
    facts: dict[str, Any] = {
        name: value for name, value in (("image", report.image), ("digest", report.digest)) if value is not None
    }
    if report.reason is not None and build.report_reason is None:
        facts |= {"report_reason": report.reason, "report_message": _sentence(report.message, plan)}
    ports = request.app[PORTS]
    sealed = ports.vault.seal(raw)  # a message can quote what is secret
    new = await ports.store.record_report(build.build_uuid, report.id, sealed, facts=facts, values=report.variables)
    return json_answer({"status": "OK", "recorded": new})


def _sentence(message: str | None, plan: Plan) -> str | None:
    """It goes where the log goes, and further: so it is masked like the log, before it is cut."""
    return None if message is None else " ".join(transform_line(message, plan.log_rules).split())[:1000]


async def put_artifact(request: web.Request, build: Build, plan: Plan) -> web.StreamResponse:
    """`PUT …/artifacts/<name>`: stored under the build's uuid; sha256 and bytes are recorded."""
    ports = request.app[PORTS]
    name = artifact_name(raw_segments(request)[4:])
    limit_bytes = ports.settings.shuttle_max_artifact_bytes
    with local_disk(), NamedTemporaryFile(dir=ports.settings.shuttle_data_dir, prefix="artifact-") as file:
        digest, size_bytes = sha256(), 0
        async for chunk in request.content.iter_any():
            size_bytes += len(chunk)
            if size_bytes > limit_bytes:
                raise BodyTooLargeError(f"An artifact may have {limit_bytes} bytes.")
            digest.update(chunk)
            await asyncio.to_thread(file.write, chunk)
        file.flush()
        content_type = _content_type(request.headers.get("Content-Type", ""))
        await ports.objects.put(artifact_object(build.build_uuid, name), Path(file.name), content_type=content_type)
    artifact = Artifact(name, size_bytes, digest.hexdigest(), content_type)
    await ports.store.record_artifact(build.build_uuid, artifact, most=_MOST_ARTIFACTS)
    return json_answer({"status": "OK", "sha256": artifact.sha256, "bytes": size_bytes})


def _content_type(header: str) -> str:
    """As sent, if it is one that can be sent back."""
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
