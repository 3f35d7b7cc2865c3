"""Rebuilds: a new build of the source that an earlier build had."""

from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shuttle.errors import NotFoundError
from shuttle.request import check_id, decode_json
from shuttle.request.shape import refuse
from shuttle.web import ACCEPTANCE, STANDING, WORKER
from shuttle.web.answers import ACCEPTANCE_HEADERS, acceptance_headers, json_answer
from shuttle.web.body import read_body
from shuttle.web.description import ACCEPT_ERRORS, JSON_ERRORS, describe
from shuttle.web.models import NewBuildIds
from shuttle.web.names import named_build

_MAX_BODY_BYTES = 64 * 1024


class RebuildRequest(BaseModel):
    """The body, which may be empty: the id of the new build, and whether it gets the newest commit of the branch."""

    model_config = ConfigDict(strict=True, hide_input_in_errors=True)

    build_id: Annotated[str | None, Field(max_length=128)] = None
    latest: bool | None = None


@describe(
    NewBuildIds,
    body=RebuildRequest,
    may_be_empty=True,
    errors=(*JSON_ERRORS, NotFoundError, *ACCEPT_ERRORS),
    headers=ACCEPTANCE_HEADERS,
)
async def post_rebuild(request: web.Request) -> web.StreamResponse:
    """`POST /:app_id/:build_id/rebuild`: 200 once the new build is durable."""
    build = await named_build(request)
    raw = await read_body(request, _MAX_BODY_BYTES)
    try:
        wanted = RebuildRequest.model_validate(decode_json(raw)) if raw.strip() else RebuildRequest()
    except ValidationError as error:
        refuse(error, "")
    build_id = None if wanted.build_id is None else check_id("build_id", wanted.build_id)
    answer = await request.app[ACCEPTANCE].accept_rebuild(
        build, build_id, request[STANDING], latest=wanted.latest is True
    )
    if not answer.replayed:
        request.app[WORKER].add(answer.build, has_sinks=answer.has_sinks)
    ids = NewBuildIds(build_id=answer.build.build_id, build_uuid=answer.build.build_uuid)
    return json_answer(ids, headers=acceptance_headers(answer))
