"""Bodies of requests below `/-/state`: JSON in the shape of a model; unknown fields are ignored and reported."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, TypeVar

from aiohttp import web
from pydantic import AliasChoices, BaseModel, ConfigDict, ValidationError, model_validator

from shuttle.errors import (
    BodyTimeoutError,
    BodyTooLargeError,
    BusyError,
    CannotRecordError,
    InvalidJsonError,
    InvalidRequestError,
    UnsupportedMediaTypeError,
)
from shuttle.request import decode_json
from shuttle.web.body import read_body
from shuttle.web.state.details import InvalidShapeError, Problem, problems_of

MAX_BODY_BYTES = 1024 * 1024
# The errors of `read_shape`.
SHAPE_ERRORS = (
    InvalidRequestError,
    InvalidShapeError,
    BodyTooLargeError,
    BodyTimeoutError,
    UnsupportedMediaTypeError,
    BusyError,
    CannotRecordError,
)
# The names of the body's fields that no model has, for the answer's header.
IGNORED: web.RequestKey[tuple[str, ...]] = web.RequestKey("ignored", tuple)


class StateBody(BaseModel):
    """The shape of a body. Existing clients send `"1"` for 1, too; unknown fields are kept aside."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)
    # Fields that existing clients send and that have no effect: they are reported as unknown ones are.
    without_effect: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, value: Any) -> Any:
        """Of the names of a field, pydantic takes the first one that is there, also if it is null."""
        if not isinstance(value, Mapping):
            return value
        aliases = [field.validation_alias for field in cls.model_fields.values()]
        names = {name for alias in aliases if isinstance(alias, AliasChoices) for name in alias.choices}
        return {name: given for name, given in value.items() if given is not None or name not in names}

    def given(self) -> dict[str, Any]:
        """The fields of the model that the caller sent, without those that are null: null means unchanged."""
        return {name: value for name in type(self).model_fields if (value := getattr(self, name)) is not None}


Shape = TypeVar("Shape", bound=StateBody)


async def read_shape(request: web.Request, shape: type[Shape]) -> Shape:
    """The body of the request, whatever its Content-Type says: curl sends JSON as a form by default.

    Raises:
        InvalidShapeError: 422, it is not JSON or has another shape. BodyTooLargeError: 413, above 1 MiB. Others: see
            `shuttle.web.body.read_body`.
    """
    return shape_of(request, shape, await read_body(request, MAX_BODY_BYTES))


def shape_of(request: web.Request, shape: type[Shape], value: bytes | Mapping[str, str]) -> Shape:
    """The value, or the JSON text, in this shape. Raises InvalidShapeError."""
    try:
        body = shape.model_validate(decode_json(value) if isinstance(value, bytes) else value)
    except InvalidJsonError as error:
        raise InvalidShapeError(Problem("json_invalid", ("body",), error.message)) from None
    except ValidationError as error:
        raise InvalidShapeError(*problems_of(error, "body")) from None
    request[IGNORED] = tuple(_unknown_fields(body))
    return body


def _unknown_fields(body: BaseModel, prefix: str = "") -> Iterator[str]:
    """The paths of the fields that the models do not have, or that have no effect."""
    for name in body.model_extra or ():
        yield prefix + name
    for name in sorted(body.model_fields_set):
        value = body.__dict__.get(name)
        if isinstance(body, StateBody) and name in body.without_effect and value is not None:
            yield prefix + name
        if isinstance(value, StateBody):
            yield from _unknown_fields(value, f"{prefix}{name}.")
