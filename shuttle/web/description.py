"""What a handler takes and answers, written beside it: OpenAPI is made of this and of the table of routes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pydantic import BaseModel

from shuttle.errors import (
    BodyTimeoutError,
    BodyTooLargeError,
    BusyError,
    InvalidJsonError,
    InvalidRequestError,
    LocalDiskError,
    ObjectStoreError,
    ShuttleError,
    StoreError,
    UnsupportedMediaTypeError,
)
from shuttle.web import Handler

# A model is JSON; a text is the media type of anything else.
Content = type[BaseModel] | str
Described = TypeVar("Described", bound=Callable[..., Any])
ErrorClass = type[ShuttleError]

# Of reading a body as JSON.
JSON_ERRORS = (
    InvalidRequestError,
    InvalidJsonError,
    BodyTooLargeError,
    BodyTimeoutError,
    UnsupportedMediaTypeError,
    BusyError,
)
# Of sending a body in pieces.
BYTES_ERRORS = (InvalidRequestError, BodyTooLargeError, BodyTimeoutError, UnsupportedMediaTypeError)
# Of reading an object.
OBJECT_ERRORS = (StoreError, ObjectStoreError, LocalDiskError)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the query or a header of the request; `schema` is JSON Schema."""

    name: str
    schema: Mapping[str, Any]
    description: str
    required: bool = False
    place: str = "query"


@dataclass(frozen=True, slots=True)
class Reply:
    """One status: its body in any of these forms, and the headers that it may have."""

    content: tuple[Content, ...]
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Description:
    """Of one handler. `errors` are classes of the family: they have the status and the code."""

    replies: Mapping[int, Reply]
    errors: frozenset[ErrorClass] = frozenset()
    parameters: tuple[Parameter, ...] = ()
    body: Content | None = None


_DESCRIPTIONS: dict[Callable[..., Any], Description] = {}


def describe(
    *content: Content,
    replies: Mapping[int, Reply] | None = None,
    errors: tuple[ErrorClass, ...] = (),
    parameters: tuple[Parameter, ...] = (),
    body: Content | None = None,
    headers: tuple[str, ...] = (),
) -> Callable[[Described], Described]:
    """Decorate a handler: `content` and `headers` are those of 200, `replies` those of further statuses."""

    def described(handler: Described) -> Described:
        all_replies = ({200: Reply(content, headers)} if content else {}) | dict(replies or {})
        _DESCRIPTIONS[handler] = Description(all_replies, frozenset(errors), parameters, body)
        return handler

    return described


def described_as(wrapper: Handler, wrapped: Callable[..., Any], *errors: ErrorClass) -> Handler:
    """The wrapper, described as what it wraps, with the errors that it adds."""
    description = description_of(wrapped)
    _DESCRIPTIONS[wrapper] = replace(description, errors=description.errors | frozenset(errors))
    return wrapper


def description_of(handler: Callable[..., Any]) -> Description:
    """Raises KeyError: the handler is not described."""
    return _DESCRIPTIONS[handler]
