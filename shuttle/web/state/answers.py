"""Successful answers below `/-/state`, and their descriptions."""

from collections.abc import Mapping

from aiohttp import web
from pydantic import BaseModel
from pydantic_core import PydanticSerializationError

from shuttle.web.answers import ascii_json, header_list
from shuttle.web.description import Reply
from shuttle.web.state.bodies import IGNORED

# The header that names the fields which were ignored.
IGNORED_HEADERS = ("Shuttle-Ignored-Fields",)


def answer(request: web.Request, body: BaseModel, *, status: int = 200) -> web.Response:
    """The body as JSON; a header names the fields of the request that were ignored."""
    ignored = request.get(IGNORED)
    headers = {"Shuttle-Ignored-Fields": header_list(ignored)} if ignored else None
    return web.Response(text=json_text(body), status=status, content_type="application/json", headers=headers)


def json_text(body: BaseModel) -> str:
    """The body as JSON in ASCII."""
    try:
        return body.model_dump_json(ensure_ascii=True)
    except PydanticSerializationError:  # metadata has lone surrogates, which only `json` can escape
        return ascii_json(body)


def created(request: web.Request, body: BaseModel, *, is_new: bool) -> web.Response:
    """201 with what was created, or 200 if an equal request had created it before."""
    return answer(request, body, status=201 if is_new else 200)


def no_content() -> web.Response:
    """204, after a deletion."""
    return web.Response(status=204)


def created_replies(model: type[BaseModel]) -> Mapping[int, Reply]:
    """The description of `created`."""
    reply = Reply((model,), IGNORED_HEADERS)
    return {200: reply, 201: reply}


NO_CONTENT: Mapping[int, Reply] = {204: Reply(())}
