"""The supervisor's calls before the user's code runs: claim, source, environment, begin."""

from typing import Annotated, Any
from urllib.parse import quote

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jenkins_pipelines.catalogue import PIPELINES
from jenkins_pipelines.environment import LeftFile, environment_archive
from shuttle.build import Build
from shuttle.errors import (
    ConflictError,
    GoneError,
    InvalidRequestError,
    NotFoundError,
    ObjectNotFoundError,
    StoreError,
    UnauthorizedError,
)
from shuttle.lifecycle import Services
from shuttle.lifecycle.agent_calls import SHORTEST_PAUSE_SECONDS
from shuttle.lifecycle.build_spec import agent_environment, claim_token, read_spec, token_digest
from shuttle.lifecycle.left_behind import LeftBehind, left_behind
from shuttle.objects.names import artifact_object
from shuttle.request import decode_json
from shuttle.store.builds import find_build
from shuttle.store.claims import Claim, NewClaim, begin_claim, claim_build
from shuttle.web import SERVICES
from shuttle.web.agent_auth import check_build_token
from shuttle.web.agent_models import Claimed, LogRules
from shuttle.web.answers import json_answer
from shuttle.web.body import read_body
from shuttle.web.description import JSON_ERRORS, OBJECT_ERRORS, describe
from shuttle.web.models import Ok
from shuttle.web.sources import get_normalized_source, send_object

_MAX_CLAIM_BYTES = 4096


class ClaimBody(BaseModel):
    """A claim of a build: Jenkins' build number, and a nonce that no other attempt knows."""

    model_config = ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True)

    number: Annotated[int, Field(gt=0, lt=2**53)]
    nonce: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{16,128}$")]
    branch: Annotated[str, Field(pattern=r"^([a-z0-9._-]{1,64})?$")] = ""


_SENTENCES = {
    "number": "Write Jenkins' build number, a whole number above 0.",
    "nonce": "Write 16 to 128 random letters, digits, dots, dashes or underscores.",
    "branch": "Write 1 to 64 of a-z, 0-9, dot, dash and underscore.",
}


@describe(
    Claimed,
    body=ClaimBody,
    errors=(*JSON_ERRORS, UnauthorizedError, ConflictError, GoneError, StoreError),
)
async def post_claim(request: web.Request) -> web.StreamResponse:
    """`POST …/claim {"number", "nonce", "branch"?}` with the build's token: 200 with its tokens, 409 or 410."""
    services, build_uuid = request.app[SERVICES], await check_build_token(request)
    claim = _read_claim(decode_json(await read_body(request, _MAX_CLAIM_BYTES)))
    spec = await read_spec(build_uuid, services.database, services.vault)
    if spec.children and claim.branch not in spec.children:
        raise ConflictError("This build runs in branches of its platforms; claim one of them.", field="branch")
    setup_token, run_token = (claim_token(spec, kind, claim.branch, claim.nonce) for kind in ("setup", "run"))
    digests = (token_digest(secret) for secret in (claim.nonce, setup_token, run_token))
    new = NewClaim(claim.number, claim.branch, *digests)
    await services.database.run(claim_build, build_uuid, new)
    await services.logs.reload_claims(build_uuid)
    return json_answer(
        Claimed(
            setup_token=setup_token,
            run_token=run_token,
            stop_grace_seconds=services.settings.shuttle_stop_grace_seconds,
            console=services.settings.shuttle_jenkins_console,
            log_url=await _log_url(build_uuid, services),
            log=LogRules(pause_seconds=SHORTEST_PAUSE_SECONDS, max_bytes=spec.max_log_bytes),
        )
    )


def _read_claim(body: Any) -> ClaimBody:
    try:
        return ClaimBody.model_validate(body if isinstance(body, dict) else {})
    except ValidationError as error:
        name = str(error.errors(include_input=False)[0]["loc"][0])
        raise InvalidRequestError(_SENTENCES[name], field=name) from None


async def _log_url(build_uuid: str, services: Services) -> str:
    build = await services.database.run(find_build, build_uuid)
    assert build is not None  # noqa: S101 - the caller has just recorded its claim
    return f"{services.public_url.rstrip('/')}/{quote(build.app_id, safe='')}/{quote(build.build_id, safe='')}/logs"


@describe("application/gzip", errors=(NotFoundError, GoneError, *OBJECT_ERRORS))
async def get_source(request: web.Request, build: Build, claim: Claim) -> web.StreamResponse:
    """`GET …/source.tar.gz`: 410 after `begin`."""
    _refuse_after_begin(claim)
    return await get_normalized_source(request, build)


@describe("application/gzip", errors=(GoneError, StoreError))
async def get_environment(request: web.Request, build: Build, claim: Claim) -> web.StreamResponse:
    """`GET …/environment`: arguments and registry credentials as plain files in a tar.gz; 410 after `begin`."""
    _refuse_after_begin(claim)
    services = request.app[SERVICES]
    spec = await read_spec(build.build_uuid, services.database, services.vault)
    # An image builder would put the variables and files of the resumed build into the image.
    builds_image = PIPELINES[build.pipeline].needs_destination
    left = LeftBehind() if builds_image else await left_behind(spec, claim.branch, services)
    environment = agent_environment(
        build,
        spec,
        services.public_url,
        branch=claim.branch,
        with_credentials=claim.with_credentials,
        left_variables=left.variables,
        left_files=[LeftFile(artifact_id=row.artifact_id, sha256=row.sha256, name=row.name) for _, row in left.files],
    )
    archive = environment_archive(environment)
    return web.Response(body=archive, content_type="application/gzip", headers={"Cache-Control": "no-store"})


@describe("*/*", errors=(NotFoundError, GoneError, *OBJECT_ERRORS))
async def get_left_file(request: web.Request, build: Build, claim: Claim) -> web.StreamResponse:
    """`GET …/resume/<id>`: a file of the build that this one resumes; 410 after `begin`."""
    _refuse_after_begin(claim)
    services = request.app[SERVICES]
    spec = await read_spec(build.build_uuid, services.database, services.vault)
    left = await left_behind(spec, claim.branch, services)
    for owner, row in left.files:
        if row.artifact_id == request.match_info["artifact"]:
            try:
                return await send_object(request, artifact_object(owner.build_uuid, row.name), {})
            except ObjectNotFoundError:
                break
    raise NotFoundError("The build that is resumed has no such file.")


def _refuse_after_begin(claim: Claim) -> None:
    if claim.begun_at is not None:
        raise GoneError("The user's code has begun: source and environment are no longer available.")


@describe(Ok, errors=(GoneError, StoreError))
async def post_begin(request: web.Request, build: Build, claim: Claim) -> web.StreamResponse:
    """`POST …/begin`: the user's code is about to run. Idempotent; afterwards the setup token is valid only here."""
    services = request.app[SERVICES]
    await services.database.run(begin_claim, claim.claim_id)
    await services.logs.reload_claims(build.build_uuid)
    return json_answer(Ok())
