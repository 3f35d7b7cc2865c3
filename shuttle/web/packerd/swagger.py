"""Describes packer over REST in swagger 2.0, which generators of clients read; built from the table of routes."""

import json
import re
from collections.abc import Iterable
from functools import cache
from http import HTTPStatus
from typing import Any

from aiohttp import web
from pydantic import BaseModel

import shuttle
from shuttle.errors import NotAcceptableError
from shuttle.web import Role, Route
from shuttle.web.answers import json_answer
from shuttle.web.description import Content, Description, Reply, describe, description_of
from shuttle.web.openapi import errors_of, path_of
from shuttle.web.packerd import models

_DEFINITION = re.compile(r'"#/definitions/\w+"')
_ID = {"type": "string", "minLength": 36, "maxLength": 36}
_PATH_PARAMETERS: dict[str, dict[str, Any]] = {
    "id": {**_ID, "description": "The id of the request."},
    "buildnumber": {"type": "integer", "format": "int64", "description": "The number of the run, from 0."},
    "stagename": {"type": "string", "minLength": 1, "maxLength": 64, "description": "The name of the stage."},
}
_ERROR = {"$ref": "#/definitions/error"}


@describe("application/json", errors=(NotAcceptableError,))
async def get_swagger(request: web.Request) -> web.StreamResponse:
    """`GET /swagger.json`: the description."""
    return json_answer(document())


@cache
def document() -> dict[str, Any]:
    """Swagger 2.0 of every route."""
    from shuttle.web.packerd.routes import PACKERD_ROUTES  # noqa: PLC0415 - the table names this module's handler

    paths: dict[str, dict[str, Any]] = {}
    for route in PACKERD_ROUTES:
        paths.setdefault(path_of(route), {})[route.method.lower()] = _operation(route)
    return {
        "swagger": "2.0",
        "info": {
            "title": "packerd",
            "version": shuttle.__version__,
            "description": "Packer over REST, by the Build Shuttle. An href begins at the root of this API.",
        },
        "consumes": ["application/json"],
        "produces": ["application/json"],
        "paths": paths,
        "definitions": _definitions(),
        "securityDefinitions": {
            "basic": {"type": "basic"},
            "bearer": {"type": "apiKey", "in": "header", "name": "Authorization"},
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    path, description = path_of(route), description_of(route.handler)
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": f"{route.method.lower()}{re.sub(r'[^A-Za-z0-9]+', ' ', path).title().replace(' ', '')}",
        "parameters": list(_parameters(path, description)),
        "responses": _responses(route, description),
        "security": [] if route.role is Role.ANYBODY else [{"basic": []}, {"bearer": []}],
    }
    if "text/plain" in _contents(description):
        operation["produces"] = ["application/json", "text/plain"]
    return operation


def _parameters(path: str, description: Description) -> Iterable[dict[str, Any]]:
    for name in re.findall(r"{(\w+)}", path):
        yield {"name": name, "in": "path", "required": True, **_PATH_PARAMETERS[name]}
    for each in description.parameters:
        yield {"name": each.name, "in": each.location, "description": each.description, **each.schema}
    if description.body is not None:
        yield {"name": "buildrequest", "in": "body", "required": True, "schema": _schema(description.body)}


def _responses(route: Route, description: Description) -> dict[str, Any]:
    errors = {str(error.status) for error in errors_of(route)}
    responses: dict[str, Any] = {
        status: {"description": HTTPStatus(int(status)).phrase, "schema": _ERROR} for status in sorted(errors)
    }
    responses |= {str(status): _response(status, reply) for status, reply in description.replies.items()}
    return dict(sorted(responses.items())) | {"default": {"description": "Any other error.", "schema": _ERROR}}


def _response(status: int, reply: Reply) -> dict[str, Any]:
    response: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    model = next((content for content in reply.content if not isinstance(content, str)), None)
    if model is not None:
        response["schema"] = _schema(model)
    if reply.headers:
        response["headers"] = {name: {"type": "string"} for name in reply.headers}
    return response


def _contents(description: Description) -> set[Content]:
    return {content for reply in description.replies.values() for content in reply.content}


def _schema(model: Content) -> dict[str, Any]:
    assert not isinstance(model, str)  # noqa: S101 - only JSON has a model
    return {"$ref": f"#/definitions/{_name(model)}"}


def _name(model: type[BaseModel]) -> str:
    return "buildrequest" if model is models.NewBuildrequest else model.__name__.lower()


def _definitions() -> dict[str, Any]:
    """The models by their names in lower case. One definition has the fields of a request as sent and as answered."""
    sent, answered = models.NewBuildrequest, models.Buildrequest
    shown = (models.Variable, models.Link, models.Links, models.Buildstage, models.Buildresponse)
    definitions = {_name(model): _properties(model) for model in (*shown, models.Health, models.Stopped, models.Error)}
    both = _properties(answered)["properties"] | _properties(sent)["properties"]
    definitions["buildrequest"] = {"type": "object", "required": ["giturl"], "properties": both}
    found: dict[str, Any] = json.loads(_DEFINITION.sub(lambda each: each[0].lower(), json.dumps(definitions)))
    return found


def _properties(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema(ref_template="#/definitions/{model}", mode="serialization")
    for described in schema.get("properties", {}).values():
        described.pop("title", None)
        described.pop("default", None)  # answers leave out fields with this value
    return {name: value for name, value in schema.items() if name not in {"$defs", "title"}}
