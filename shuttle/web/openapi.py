"""The OpenAPI document, built from the table of routes, the handlers' descriptions and the error classes."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache
from http import HTTPStatus
from typing import Any

from aiohttp import web
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

import shuttle
from shuttle.errors import ForbiddenError, InvalidRequestError, UnauthorizedError
from shuttle.web import Role, Route
from shuttle.web.answers import json_answer
from shuttle.web.description import JSON, Content, Description, ErrorClass, Parameter, Reply, describe, description_of
from shuttle.web.error_schemas import ERROR_SCHEMAS, error_schemas
from shuttle.web.event_models import FinalStatusEvent, StatusEvent
from shuttle.web.legacy_models import LegacyStatusEvent

_SCHEMAS = "#/components/schemas/"
_GENERAL = (
    "Besides the listed responses, any route may answer 405 (with Allow) to another method, 400, 408, 413, 417 or 431"
    " to a request that is malformed or too slow, and 503 while too many connections are open. After 429 and 503, both"
    " with Retry-After, the request may be sent again. HEAD is possible wherever GET is. Paths that begin with `/-/`"
    " and are not listed get 404 for every method: no app is called `-`. Those that begin with `/-/state/` may end with"
    " a slash. `/-/packerd/swagger.json` describes the paths below `/-/packerd`."
)
_ID = {"type": "string", "minLength": 1, "maxLength": 128}
_PATH_PARAMETERS: Mapping[str, tuple[Mapping[str, Any], str]] = {
    "app_id": (_ID, "The app, percent-encoded."),
    "build_id": (_ID, "The id of the build within its app, percent-encoded."),
    "build_uuid": ({"type": "string", "format": "uuid"}, "The build's uuid."),
    "delivery_id": ({"type": "string", "pattern": "^[0-9]{1,18}$"}, "The id in the list of deliveries."),
    "segment": (_ID, "A build's uuid, or an app."),
    "name": ({"type": "string", "minLength": 1}, "A relative file name."),
    "project_id": (_ID, "The project's uuid or name, percent-encoded."),
    "build": ({"type": "string", "minLength": 1}, "The build's uuid, or `<project>/<build_number>`, percent-encoded."),
    "artifact": ({"type": "string", "minLength": 1}, "The id or the name, percent-encoded."),
    "key": ({"type": "string", "minLength": 1}, "The name of the variable, percent-encoded."),
    "resume": (
        {"type": "string", "format": "uuid"},
        "The id of the request, which is the uuid of the build that resumes.",
    ),
    "job": ({"type": "string", "format": "uuid"}, "The id of the job."),
    "platform": (_ID, "The platform's uuid or name, percent-encoded."),
    "wheel": ({"type": "string"}, "The name of the wheel, as `/-/state/pip/simple/buildstate-cli` lists it."),
    "reference_id": (_ID, "The uuid or the name, percent-encoded."),
    "state_code_id": (_ID, "The uuid or the name; below a project also the code."),
    "code": ({"type": "string", "pattern": "^(-1|[0-9]{1,3})$"}, "The state code."),
}
_STATUS_FORMS = (StatusEvent, FinalStatusEvent, LegacyStatusEvent)
_STATUS_HEADERS = {
    "webhook-id": "The event's id: the same for all receivers, attempts and replays.",
    "webhook-timestamp": "When the attempt was made, in seconds since 1970.",
    "webhook-signature": "With SHUTTLE_WEBHOOK_SECRET: a signature by each secret (Standard Webhooks).",
}
# Errors of every route with a role: no credentials, an insufficient role, and a missing Host where it is needed.
_GATE_ERRORS = (UnauthorizedError, ForbiddenError, InvalidRequestError)


@describe("application/json")
async def get_openapi(request: web.Request) -> web.StreamResponse:
    """`GET /-/openapi.json`: the OpenAPI document."""
    return json_answer(document())


@cache
def document() -> dict[str, Any]:
    """OpenAPI 3.1 of every route."""
    from shuttle.web.routes import ROUTES  # noqa: PLC0415 - the table names this module's handler

    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for route in ROUTES:
        path, description = path_of(route), description_of(route.handler)
        operation = paths[path][route.method.lower()] = _operation(route, path, description)
        if route.method == "GET":
            paths[path]["head"] = _head(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Build Shuttle", "version": shuttle.__version__, "description": _GENERAL},
        "paths": dict(paths),
        "webhooks": {"status": {"post": _status_webhook()}},
        "components": {
            "schemas": {**ERROR_SCHEMAS, **_schemas(description_of(route.handler) for route in ROUTES)},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic"},
                "build": {"type": "http", "scheme": "bearer", "description": "A token of this build."},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def path_of(route: Route) -> str:
    """The path in OpenAPI's form: parameters without their patterns."""
    return _without_patterns(route.path)


def _without_patterns(path: str) -> str:
    return re.sub(r":[^{}]*}", "}", path)


def errors_of(route: Route) -> frozenset[ErrorClass]:
    """All errors of the route: its handler's and those of the check of credentials before it."""
    gate = _GATE_ERRORS if route.role in {Role.READER, Role.CONTROLLER} else ()
    return description_of(route.handler).errors | frozenset(gate)


def _operation(route: Route, path: str, description: Description) -> dict[str, Any]:
    parameters = [_path_parameter(name) for name in re.findall(r"{(\w+)}", path)]
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": f"{route.method.lower()}_{re.sub(r'[^a-z0-9]+', '_', path).strip('_')}",
        "parameters": [*parameters, *map(_parameter, description.parameters)],
        "responses": _responses(description.replies, errors_of(route), state_api=route.state_api),
        "security": _security(route),
    }
    if route.synonyms:
        operation["description"] = f"Also at {', '.join(f'`{_without_patterns(each)}`' for each in route.synonyms)}."
    if description.body is not None:
        # A body of bytes may be empty.
        is_required = not (description.may_be_empty or isinstance(description.body, str))
        operation["requestBody"] = {"required": is_required, "content": _body_content(description)}
    return operation


def _status_webhook() -> dict[str, Any]:
    """What a receiver of statuses gets (docs/contract.md, "Statuses")."""
    headers = [Parameter(name, {"type": "string"}, text, location="header") for name, text in _STATUS_HEADERS.items()]
    return {
        "summary": "A status of a build, to each receiver in `webhooks.status` or `callback`.",
        "operationId": "status",
        "parameters": [_parameter(header) for header in headers],
        "requestBody": {"required": True, "content": _content(_STATUS_FORMS)},
        "responses": {
            "2XX": {"description": "The status is delivered."},
            "410": {"description": "The receiver gets no further status of this build."},
            "default": {"description": "The status is sent again later."},
        },
    }


def _head(operation: Mapping[str, Any]) -> dict[str, Any]:
    """The operation for HEAD: the same without bodies."""
    responses = {
        status: {name: value for name, value in response.items() if name != "content"}
        for status, response in operation["responses"].items()
    }
    return {**operation, "operationId": f"head_{operation['operationId']}", "responses": responses}


def _path_parameter(name: str) -> dict[str, Any]:
    schema, description = _PATH_PARAMETERS[name]
    return {"name": name, "in": "path", "required": True, "schema": schema, "description": description}


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.location,
        "required": parameter.required,
        "schema": parameter.schema,
        "description": parameter.description,
    }


def _responses(replies: Mapping[int, Reply], errors: frozenset[ErrorClass], *, state_api: bool) -> dict[str, Any]:
    by_status: dict[int, list[ErrorClass]] = defaultdict(list)
    for error in sorted(errors, key=lambda each: each.code):
        by_status[error.status].append(error)
    responses: dict[str, Any] = {}
    for status in sorted({*replies, *by_status}):
        reply, failures = replies.get(status, Reply(())), by_status.get(status, [])
        content = _content(reply.content, error_schemas(failures, state_api=state_api))
        headers = [*reply.headers, *_error_headers(status, failures)]
        responses[str(status)] = {
            "description": _description(status, failures),
            "content": content,
            "headers": {name: {"schema": {"type": "string"}} for name in headers},
        }
    return responses


def _description(status: int, errors: Iterable[ErrorClass]) -> str:
    reasons = [f"`{error.code}`: {(error.__doc__ or '').splitlines()[0]}" for error in errors]
    return "\n\n".join(reasons) or f"{HTTPStatus(status).phrase}."


def _error_headers(status: int, errors: Iterable[ErrorClass]) -> tuple[str, ...]:
    if not errors:
        return ()
    names = {401: ("WWW-Authenticate",), 409: ("Shuttle-Log-Offset",), 416: ("Content-Range",)}
    return ("Retry-After",) if status in {429, 503} else names.get(status, ())


def _content(contents: Iterable[Content], errors: Iterable[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """The content by media type; several models, or a model and an error, are alternatives."""
    by_type: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for content in contents:
        if isinstance(content, str):
            by_type[content]
        else:
            by_type[JSON].append({"$ref": _SCHEMAS + content.__name__})
    for schema in errors:
        by_type[JSON].append(schema)
    return {media_type: _any_of(schemas) for media_type, schemas in by_type.items()}


def _body_content(description: Description) -> dict[str, Any]:
    assert description.body is not None  # noqa: S101 - the caller has checked it
    content = _content([description.body])
    return dict.fromkeys(description.body_types, content[JSON]) if JSON in content else content


def _any_of(schemas: list[Mapping[str, Any]]) -> dict[str, Any]:
    if not schemas:
        return {}
    return {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}


def _schemas(descriptions: Iterable[Description]) -> dict[str, Any]:
    """The models' schemas: of requests as they are validated, of responses and statuses as they are serialized."""
    models: dict[tuple[type[BaseModel], Any], None] = {(form, "serialization"): None for form in _STATUS_FORMS}
    for description in descriptions:
        if description.body is not None and not isinstance(description.body, str):
            models[description.body, "validation"] = None
        for reply in description.replies.values():
            models |= {(content, "serialization"): None for content in reply.content if not isinstance(content, str)}
    return dict(models_json_schema(list(models), ref_template=_SCHEMAS + "{model}")[1]["$defs"])


def _security(route: Route) -> list[dict[str, list[str]]]:
    if route.role is Role.ANYBODY:
        return []
    if route.role is Role.AGENT:
        return [{"build": []}]
    return [{"bearer": []}, {"key": []} if route.state_api else {"basic": []}]
