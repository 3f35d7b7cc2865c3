"""The answers of packerd, written down by hand: what its clients rely on, whatever our own description says.

`shuttle/web/packerd/swagger.py` is generated from the models that also make the answers, so a mistake in a model would
be in both. Fields that are empty are left out, so a text here has at least one character.
"""

import re
from collections.abc import Mapping
from typing import Any

from jsonschema_rs import Draft202012Validator

_Schema = dict[str, Any]

_ID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_STAGES = ("GitClone", "GitCheckout", "RunBerksVendor", "RunPacker", "KitchenTest", "DockerClean")
_TEXT: _Schema = {"type": "string", "minLength": 1}
_TIME: _Schema = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$"}
_STATUS: _Schema = {"enum": ["pending", "running", "failed", "complete"]}


def _object(required: Mapping[str, _Schema], **optional: _Schema) -> _Schema:
    """An object with these fields and no others."""
    properties = {**required, **optional}
    return {"type": "object", "required": [*required], "properties": properties, "additionalProperties": False}


def _link(rel: str, href: str) -> _Schema:
    return _object({"rel": {"const": rel}, "href": {"type": "string", "pattern": f"^{href}$"}})


def _list(*beginning: _Schema, then: _Schema | bool = False) -> _Schema:
    """An array that begins with these items; `then` are all further ones."""
    first: _Schema = {"prefixItems": list(beginning)} if beginning else {}  # JSON Schema allows no empty list
    return {"type": "array", "minItems": len(beginning), "items": then, **first}


_REQUEST = _link("buildrequest", f"/build/queue/{_ID}")
_RESPONSES = _link("buildresponses", f"/build/responses/{_ID}")
_RESPONSE = _link("buildresponse", f"/build/responses/{_ID}/[0-9]+")
_OF_RUN = _link("buildstages", f"/build/responses/{_ID}/[0-9]+/stages")
_STAGE_LINK = _link("buildstage", f"/build/responses/{_ID}/[0-9]+/stages/({'|'.join(_STAGES)})")
_UUID: _Schema = {"type": "string", "pattern": f"^{_ID}$"}
_ACCEPTED = _list(_REQUEST, _RESPONSES, _link("health", "/health"))
_STAGE = _object({"name": {"enum": [*_STAGES]}, "status": _STATUS}, log=_TEXT, start=_TIME, end=_TIME)

# Method, path and status, and the body.
_BODIES: tuple[tuple[str, str, int, _Schema], ...] = (
    ("POST", "/build", 202, _ACCEPTED),
    ("GET", "/build/queue", 200, _list(_REQUEST, then=_REQUEST)),
    (
        "GET",
        "/build/queue/[^/]+",
        200,
        # The first run is there from the beginning. Neither variables nor the path of a clone.
        _object(
            {
                "id": _UUID,
                "giturl": {"type": "string", "pattern": "^https?://[^@]+$"},
                "responses": _list(_UUID, then=_UUID),
                "responselinks": _list(_RESPONSES, _RESPONSE, _OF_RUN, then={"anyOf": [_RESPONSE, _OF_RUN]}),
            },
            branch=_TEXT,
            templatepath=_TEXT,
            buildonly=_TEXT,
        ),
    ),
    ("POST", "/build/queue/[^/]+", 202, _ACCEPTED),
    ("DELETE", "/build/queue/[^/]+", 200, _object({"status": {"const": "OK"}})),
    ("GET", "/build/responses/[^/]+", 200, _list(_RESPONSE, then=_RESPONSE)),
    (
        "GET",
        "/build/responses/[^/]+/[^/]+",
        200,
        _object(
            {
                "id": _UUID,
                "buildrequestid": _UUID,
                "status": _STATUS,
                "buildstages": _list(then=_STAGE),
                "buildrequest": _list(_REQUEST),
            },
            images=_list(_TEXT, then=_TEXT),
            artifacts=_list(_link("artifact", ".+"), then=_link("artifact", ".+")),
            eta={"type": "integer", "minimum": 1},
        ),
    ),
    ("GET", "/build/responses/[^/]+/[^/]+/stages", 200, _list(then=_STAGE_LINK)),
    ("GET", "/build/responses/[^/]+/[^/]+/stages/[^/]+", 200, _STAGE),
    (
        "GET",
        "/health",
        200,
        _object(
            {
                "status": {"enum": ["ok", "poor", "bad", "err"]},
                "diskpercentfull": {"type": "integer", "minimum": 0, "maximum": 100},
                "goroutines": {"type": "integer", "minimum": 1},
            }
        ),
    ),
    ("GET", "/swagger.json", 200, {"type": "object", "required": ["swagger", "paths", "definitions"]}),
)
# Numbers of errors that are not their status.
_NUMBERS = {400: {4, 400}, 422: {422, 601, 602, 603, 604}}


def problems_of(method: str, path: str, status: int, value: Any) -> list[str]:
    """What is wrong with the JSON of an answer; `path` begins at the root of the API and has no query."""
    if status >= 400:
        numbers = _NUMBERS.get(status, {status})
        return _problems(_object({"code": {"enum": sorted(numbers)}, "message": _TEXT}), value)
    for each_method, pattern, each_status, schema in _BODIES:
        if (each_method, each_status) == (method, status) and re.fullmatch(pattern, path):
            return _problems(schema, value)
    return [f"packerd has no answer {status} to {method} {path}"]


def _problems(schema: _Schema, value: Any) -> list[str]:
    return [error.message[:300] for error in Draft202012Validator(schema).iter_errors(value)]
