"""The description of a handler's request and responses, written beside it. OpenAPI is built from it and the routes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pydantic import BaseModel

from shuttle.errors import (
    BodyTimeoutError,
    BodyTooLargeError,
    BusyError,
    CannotRecordError,
    ConflictError,
    InvalidJsonError,
    InvalidRequestError,
    KeyMissingError,
    LocalDiskError,
    ObjectStoreError,
    QueueFullError,
    ShuttleError,
    StoreError,
    UnsupportedMediaTypeError,
)
from shuttle.web import Handler

# A model stands for JSON; a string is the media type of anything else.
Content = type[BaseModel] | str
Described = TypeVar("Described", bound=Callable[..., Any])
ErrorClass = type[ShuttleError]

JSON = "application/json"
# Errors of reading a body as JSON.
JSON_ERRORS = (
    InvalidRequestError,
    InvalidJsonError,
    BodyTooLargeError,
    BodyTimeoutError,
    UnsupportedMediaTypeError,
    BusyError,
)
# Errors of accepting a build, apart from those of its body. Its request may be that of an earlier build, which may be
# encrypted with a key that was removed.
ACCEPT_ERRORS = (ConflictError, QueueFullError, CannotRecordError, KeyMissingError, StoreError)
# Errors of receiving a body in chunks.
BYTES_ERRORS = (InvalidRequestError, BodyTooLargeError, BodyTimeoutError, UnsupportedMediaTypeError)
# Errors of reading an object.
OBJECT_ERRORS = (StoreError, ObjectStoreError, LocalDiskError)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter in the query or in a header; `schema` is JSON Schema, `location` is OpenAPI's `in`."""

    name: str
    schema: Mapping[str, Any]
    description: str
    required: bool = False
    location: str = "query"


@dataclass(frozen=True, slots=True)
class Reply:
    """The response with one status: the possible forms of its body, and its possible headers."""

    content: tuple[Content, ...]
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Description:
    """The description of one handler. Each class in `errors` knows the status and the code of its response."""

    replies: Mapping[int, Reply]
    errors: frozenset[ErrorClass] = frozenset()
    parameters: tuple[Parameter, ...] = ()
    body: Content | None = None
    # The media types in which a model can be sent.
    body_types: tuple[str, ...] = (JSON,)
    may_be_empty: bool = False


_DESCRIPTIONS: dict[Callable[..., Any], Description] = {}


def describe(
    *content: Content,
    replies: Mapping[int, Reply] | None = None,
    errors: tuple[ErrorClass, ...] = (),
    parameters: tuple[Parameter, ...] = (),
    body: Content | None = None,
    body_types: tuple[str, ...] = (JSON,),
    may_be_empty: bool = False,
    headers: tuple[str, ...] = (),
) -> Callable[[Described], Described]:
    """Decorate a handler with its description: `content` and `headers` are for 200, `replies` for other statuses."""

    def described(handler: Described) -> Described:
        all_replies = ({200: Reply(content, headers)} if content else {}) | dict(replies or {})
        _DESCRIPTIONS[handler] = Description(all_replies, frozenset(errors), parameters, body, body_types, may_be_empty)
        return handler

    return described


def described_as(wrapper: Handler, wrapped: Callable[..., Any], *errors: ErrorClass) -> Handler:
    """Give the wrapper the description of the handler that it wraps, with the errors that it adds."""
    description = description_of(wrapped)
    _DESCRIPTIONS[wrapper] = replace(description, errors=description.errors | frozenset(errors))
    return wrapper


def description_of(handler: Callable[..., Any]) -> Description:
    """The handler's description; raises KeyError if it has none."""
    return _DESCRIPTIONS[handler]
