"""Reads what callers send to packer over REST: the body of a request, and the parts of a path."""

import re

from aiohttp import web
from pydantic import ValidationError

from shuttle.errors import BodyTooLargeError, shortened
from shuttle.lifecycle.packer_request import PackerRequest
from shuttle.request import MAX_JSON_BYTES, decode_json
from shuttle.storable import is_storable
from shuttle.web.body import json_body
from shuttle.web.packerd.errors import Number, UnknownError, WrongShapeError
from shuttle.web.packerd.models import NewBuildrequest

_ID_CHARACTERS = 36
_STAGE_CHARACTERS = 64
_RUN = re.compile(r"[+-]?[0-9]+")
# No run's number has more digits.
_RUN_DIGITS = 9
_JSON_TYPES = {"string": "string", "list": "array", "bool": "boolean", "model": "object", "dict": "object"}


async def read_request(request: web.Request) -> PackerRequest:
    """The request in the body.

    Raises:
        WrongShapeError: 422, a field is missing or has another type. InvalidJsonError: 400, it is not JSON. Others: see
            `shuttle.web.body.json_body`.
    """
    async with json_body(request) as body:
        if len(body) > MAX_JSON_BYTES:
            raise BodyTooLargeError(f"Send at most {MAX_JSON_BYTES} bytes.")
        value = decode_json(body[:])
    try:
        sent = NewBuildrequest.model_validate(value)
    except ValidationError as error:
        raise _wrong_shape(error) from None
    return PackerRequest(
        giturl=sent.giturl,
        branch=sent.branch,
        templatepath=sent.templatepath,
        buildonly=sent.buildonly,
        variables={each.key: each.value for each in sent.buildvars},
        secrets={each.key for each in sent.buildvars if each.secret},
        with_git=sent.git,
    )


def _wrong_shape(error: ValidationError) -> WrongShapeError:
    """The first problem, in the words of packerd."""
    problem = error.errors(include_url=False, include_input=False)[0]
    name, kind, limits = ".".join(map(str, problem["loc"])), problem["type"], problem.get("ctx", {})
    where = f"{shortened(name)} in body" if name else "the body"
    if kind == "missing" or (kind == "string_too_short" and limits.get("min_length") == 1):
        return WrongShapeError(f"{where} is required", Number.REQUIRED)
    if kind == "string_too_long":
        return WrongShapeError(f"{where} should be at most {limits['max_length']} chars long", Number.TOO_LONG)
    wanted = _JSON_TYPES.get(kind.partition("_")[0], "string")
    return WrongShapeError(f"{where} must be of type {wanted}", Number.TYPE)


def id_in(request: web.Request) -> str:
    """The id of a request in the path.

    Raises WrongShapeError for one of another length, or UnknownError for one that no database can store.
    """
    text = _of_length(request, "id", _ID_CHARACTERS, _ID_CHARACTERS)
    if not is_storable(text):
        raise UnknownError
    return text.lower()


def run_in(request: web.Request) -> int:
    """The number of a run in the path. Raises WrongShapeError, or UnknownError for one that no run can have."""
    text = request.match_info["buildnumber"]
    if not _RUN.fullmatch(text):
        raise WrongShapeError("buildnumber in path must be of type int64", Number.TYPE)
    if len(text) > _RUN_DIGITS or int(text) < 0:
        raise UnknownError
    return int(text)


def stage_in(request: web.Request) -> str:
    """The name of a stage in the path. Raises WrongShapeError for a long one."""
    return _of_length(request, "stagename", 1, _STAGE_CHARACTERS)


def _of_length(request: web.Request, name: str, shortest: int, longest: int) -> str:
    text = request.match_info[name]
    if len(text) < shortest:
        raise WrongShapeError(f"{name} in path should be at least {shortest} chars long", Number.TOO_SHORT)
    if len(text) > longest:
        raise WrongShapeError(f"{name} in path should be at most {longest} chars long", Number.TOO_LONG)
    return text
