"""The OpenAPI document, made of the table of routes and of pydantic's own schema of the request."""

import re
from typing import Any

from aiohttp import web

import shuttle
from shuttle.request.shape import request_schema
from shuttle.web import Role
from shuttle.web.answers import json_answer

_ERROR = {
    "type": "object",
    "required": ["status", "code", "message"],
    "properties": {
        "status": {"const": "error"},
        "code": {"type": "string"},
        "message": {"type": "string"},
        "field": {"type": "string"},
    },
}


async def get_openapi(request: web.Request) -> web.StreamResponse:
    """`GET /-/openapi.json`."""
    return json_answer(document())


def document() -> dict[str, Any]:
    """OpenAPI 3.1 of every route."""
    from shuttle.web.routes import ROUTES  # noqa: PLC0415 - the table names this module's handler

    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        path = re.sub(r":[^}]*}", "}", route.path)
        operation: dict[str, Any] = {
            "summary": route.summary,
            "parameters": [
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                for name in re.findall(r"{(\w+)}", path)
            ],
            "responses": {
                "200": {"description": "As described."},
                "default": {
                    "description": "An error of the family.",
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
                },
            },
            "security": _security(route.role),
        }
        if (route.method, path) == ("POST", "/{app_id}/{build_id}"):
            schema = {"$ref": "#/components/schemas/BuildRequest"}
            operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
        paths.setdefault(path, {})[route.method.lower()] = operation
    request, definitions = request_schema("#/components/schemas/{model}")
    return {
        "openapi": "3.1.0",
        "info": {"title": "Build Shuttle", "version": shuttle.__version__},
        "paths": paths,
        "components": {
            "schemas": {**definitions, "BuildRequest": request, "Error": _ERROR},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic"},
                "build": {"type": "http", "scheme": "bearer", "description": "The build's own token."},
            },
        },
    }


def _security(role: Role) -> list[dict[str, list[str]]]:
    if role is Role.ANYBODY:
        return []
    return [{"build": []}] if role is Role.AGENT else [{"bearer": []}, {"basic": []}]
