"""The descriptions of errors in the OpenAPI document: one form for most routes, and two for those below `/-/state`."""

from collections.abc import Iterable, Mapping
from typing import Any

from shuttle.web.description import ErrorClass
from shuttle.web.state.details import InvalidShapeError

_SCHEMAS = "#/components/schemas/"
_PROBLEM = {
    "type": "object",
    "required": ["type", "loc", "msg"],
    "properties": {
        "type": {"type": "string"},
        "loc": {"type": "array", "items": {"type": ["string", "integer"]}},
        "msg": {"type": "string"},
    },
    "additionalProperties": False,
}
ERROR_SCHEMAS: Mapping[str, Any] = {
    "Error": {
        "description": "`message` says in one sentence what to do; `field` names the field at fault, if there is one.",
        "type": "object",
        "required": ["status", "code", "message"],
        "properties": {
            "status": {"const": "error"},
            "code": {"type": "string"},
            "message": {"type": "string"},
            "field": {"type": "string"},
        },
        "additionalProperties": False,
    },
    "Detail": {
        "description": "An error below `/-/state`: `detail` is a sentence.",
        "type": "object",
        "required": ["detail"],
        "properties": {"detail": {"type": "string"}},
        "additionalProperties": False,
    },
    "ShapeDetail": {
        "description": "Fields of the wrong shape; `loc` begins with `body`, `query` or `path`.",
        "type": "object",
        "required": ["detail"],
        "properties": {"detail": {"type": "array", "minItems": 1, "items": _PROBLEM}},
        "additionalProperties": False,
    },
}


def error_schemas(errors: Iterable[ErrorClass], *, state_api: bool) -> list[Mapping[str, Any]]:
    """The possible bodies of these errors, which have the same status."""
    if state_api:
        names = {"ShapeDetail" if error is InvalidShapeError else "Detail" for error in errors}
        return [{"$ref": _SCHEMAS + name} for name in sorted(names)]
    codes = [error.code for error in errors]
    if not codes:
        return []
    return [{"allOf": [{"$ref": _SCHEMAS + "Error"}, {"properties": {"code": {"enum": codes}}}]}]
