"""The shape of a request's body: which fields there are and of which types; what they may say is checked after it."""

from collections.abc import Iterator
from typing import Annotated, Any, NoReturn

from pydantic import BaseModel, ConfigDict, ValidationError, WithJsonSchema

from shuttle.errors import InvalidRequestError

# As if the field were not there.
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

Receivers = Annotated[
    Any, WithJsonSchema({"oneOf": [*_RECEIVER, {"type": "array", "items": {"oneOf": _RECEIVER}}, _NULL]})
]


class _Shape(BaseModel):
    """Types are taken as they are (no "1" for 1); what nobody knows is kept aside, to be named."""

    model_config = ConfigDict(strict=True, extra="allow", hide_input_in_errors=True)


class Source(_Shape):
    """Where the code comes from."""

    url: str
    checksum: str | None = None
    headers: Annotated[Any, WithJsonSchema({"oneOf": [_HEADERS, _NULL]})] = None


class Destination(_Shape):
    """Where the image goes to."""

    image: str | None = None
    url: str | None = None
    tags: list[str] | None = None


class Webhooks(_Shape):
    """Who is told."""

    status: Receivers = None
    logs: Receivers = None


class BuildRequest(_Shape):
    """What `POST /:app_id/:build_id` takes."""

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
    resume_from: Any = None


def read_shape(value: Any) -> BuildRequest:
    """The body's fields by their types.

    Raises:
        InvalidRequestError: the first field that is missing or of another type.
    """
    if not isinstance(value, dict):
        raise InvalidRequestError('Send a JSON object like {"source": {"url": "https://…"}}.')
    try:
        return BuildRequest.model_validate(value)
    except ValidationError as error:
        refuse(error, "")


def unknown_fields(body: BuildRequest) -> Iterator[str]:
    """The paths of the fields that no model knows."""
    yield from body.model_extra or ()
    for name in ("source", "destination", "webhooks"):
        part = getattr(body, name)
        if part is not None and part.model_extra:
            yield from (f"{name}.{key}" for key in part.model_extra)


_SENTENCES = {
    "missing": "Add {}; it is required.",
    "string_type": "Write {} as a text.",
    "list_type": "Write {} as an array.",
    "dict_type": "Write {} as an object.",
    "model_type": "Write {} as an object.",
    "string_unicode": "Write {} without lone surrogates.",
}


def refuse(error: ValidationError, prefix: str) -> NoReturn:
    """The first problem of a model, as one sentence about a field of the request at `prefix`."""
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    path = prefix
    for step in problem["loc"]:
        if step != "[key]":
            path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else str(step)
    sentence = _SENTENCES.get(problem["type"])
    shown = path or "the names of the fields"
    message = f"Correct {shown}: {problem['msg'].rstrip('.')}." if sentence is None else sentence.format(shown)
    raise InvalidRequestError(message, field=path or None) from None
