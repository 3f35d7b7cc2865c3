"""The shape of a request's body: its fields and their types. Their values are checked afterwards."""

from collections.abc import Iterator
from typing import Annotated, Any, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema

from shuttle.errors import InvalidRequestError, shortened

# null counts as absent.
_NULL = {"type": "null"}
_HEADERS = {"type": "object", "additionalProperties": {"type": "string"}}
_RECEIVER = [
    {"type": "string"},
    {
        "type": "object",
        "required": ["url"],
        "properties": {"url": {"type": "string"}, "headers": {"oneOf": [_HEADERS, _NULL]}},
    },
]
_PIPELINE = [
    {"type": "string"},
    {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"type": "string"}, "options": {"type": ["object", "null"]}},
    },
]
_ARGUMENT = {"type": ["string", "number", "boolean"]}
_PLATFORM = [
    {"type": "string"},
    {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"type": "string"},
            "arguments": {"oneOf": [{"type": "object", "additionalProperties": _ARGUMENT}, _NULL]},
        },
    },
]
_PLATFORMS = {"type": "array", "minItems": 1, "maxItems": 20, "items": {"oneOf": _PLATFORM}}

Receivers = Annotated[
    Any, WithJsonSchema({"oneOf": [*_RECEIVER, {"type": "array", "items": {"oneOf": _RECEIVER}}, _NULL]})
]


class _Shape(BaseModel):
    """Types are strict (no "1" for 1); unknown fields are kept aside, to be reported."""

    model_config = ConfigDict(strict=True, extra="allow", hide_input_in_errors=True)


class Source(_Shape):
    """The source of the code."""

    url: str
    checksum: str | None = None
    headers: Annotated[Any, WithJsonSchema({"oneOf": [_HEADERS, _NULL]})] = None
    subdir: str | None = None
    submodules: bool | None = None


class Destination(_Shape):
    """The destination of the image."""

    image: str | None = None
    url: str | None = None
    tags: list[str] | None = None


class Webhooks(_Shape):
    """The receivers of statuses and logs."""

    status: Receivers = None
    logs: Receivers = None


class ResumeFrom(_Shape):
    """The build of the same app that is resumed, and the code of the first state whose work is repeated.

    `latest`: the new build gets the newest commit of the branch of the git source.
    """

    build_id: str
    state: Annotated[int, Field(ge=-1, le=999)] | None = None
    latest: bool | None = None


class AutoResume(_Shape):
    """A failed build resumes by itself after this time, at most so many times: see docs/contract.md, "Requests"."""

    after_seconds: Annotated[int, Field(ge=1, le=604_800)] | None = None
    attempts: Annotated[int, Field(ge=1, le=10)] | None = None


class BuildRequest(_Shape):
    """The body of `POST /:app_id/:build_id`."""

    source: Source
    destination: Destination | None = None
    webhooks: Webhooks | None = None
    metadata: Any = None
    human_readable_info: str | None = None
    arguments: dict[str, Annotated[Any, WithJsonSchema(_ARGUMENT)]] | None = None
    secret_arguments: list[str] | None = None
    pipeline: Annotated[Any, WithJsonSchema({"oneOf": [*_PIPELINE, _NULL]})] = None
    timeout_seconds: Annotated[Any, WithJsonSchema({"type": ["number", "null"], "minimum": 1})] = None
    labels: dict[str, str] | None = None
    platforms: Annotated[Any, WithJsonSchema({"oneOf": [_PLATFORMS, _NULL]})] = None
    auto_resume: AutoResume | None = None
    resume_from: Annotated[Any, WithJsonSchema({"oneOf": [ResumeFrom.model_json_schema(), _NULL]})] = None


def read_shape(value: Any) -> BuildRequest:
    """Check the types of the body's fields.

    Raises:
        InvalidRequestError: the first field that is missing or has another type.
    """
    if not isinstance(value, dict):
        raise InvalidRequestError('Send a JSON object like {"source": {"url": "https://…"}}.')
    try:
        return BuildRequest.model_validate(value)
    except ValidationError as error:
        refuse(error, "")


def unknown_fields(body: BuildRequest) -> Iterator[str]:
    """The paths of the fields that the models do not have."""
    yield from body.model_extra or ()
    for name in ("source", "destination", "webhooks", "auto_resume"):
        part = getattr(body, name)
        if part is not None and part.model_extra:
            yield from (f"{name}.{key}" for key in part.model_extra)


_SENTENCES = {
    "missing": "Add {shown}; it is required.",
    "string_type": "Write {shown} as a string.",
    "list_type": "Write {shown} as an array.",
    "dict_type": "Write {shown} as an object.",
    "int_type": "Write {shown} as a whole number.",
    "model_type": "Write {shown} as an object.",
    "model_attributes_type": "Write {shown} as an object.",
    "string_too_short": "Write at least {min_length} characters as {shown}.",
    "string_too_long": "Shorten {shown}: it may have at most {max_length} characters.",
    "string_unicode": "Write {shown} without lone surrogates.",
    "value_error": "Correct {shown}: {error}.",
}


def refuse(error: ValidationError, prefix: str) -> NoReturn:
    """Raise InvalidRequestError for the first problem of a model that validates the part of the request at `prefix`."""
    problem = error.errors(include_url=False, include_input=False)[0]
    path = prefix
    for step in problem["loc"]:
        if step != "[key]":
            path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else str(step)
    path = shortened(path)
    sentence = _SENTENCES.get(problem["type"], "Correct {shown}: {reason}.")
    whole = (
        "the names of the fields" if "[key]" in problem["loc"] or problem["type"] == "string_unicode" else "the body"
    )
    reason = problem["msg"].rstrip(".")
    message = sentence.format(shown=path or whole, reason=reason, **problem.get("ctx", {}))
    raise InvalidRequestError(message, field=path or None) from None
