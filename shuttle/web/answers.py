"""Responses in JSON: bodies, headers of accepted requests, and errors, never with a stack trace."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from itertools import accumulate
from typing import Any
from urllib.parse import quote

import structlog
from aiohttp import web
from pydantic import BaseModel, RootModel

from shuttle.errors import InvalidRequestError, ShuttleError
from shuttle.lifecycle.accept import AcceptedBuild
from shuttle.web import STREAMING, Handler
from shuttle.web.error_forms import ErrorForm, Failure, contract_form, failure_of, form_at

log = structlog.get_logger()

_MAX_HEADER_BYTES = 4096
_RETRY_AFTER_SECONDS = "5"
# Not the comma, which separates the texts.
_SAFE_IN_HEADER = " !#$&'()*+./:;<=>?@[]^_`{|}~-"


def json_answer(
    body: Any,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    recorded: Mapping[str, str] | None = None,
) -> web.Response:
    """A JSON response, ASCII-escaped so that every string of a caller can be returned.

    `recorded` are further members of the object as JSON texts, so that their numbers are not rewritten.
    """
    text = ascii_json(body)
    for name, value in (recorded or {}).items():
        text = f"{{{json.dumps(name)}:{value},{text[1:]}"
    return web.Response(text=text, status=status, content_type="application/json", headers=headers)


def ascii_json(body: Any) -> str:
    """The body as JSON in ASCII; lone surrogates are escaped, too."""
    # Pydantic makes plain values of two hundred models in 1 ms; the encoder's `default` would take 15.
    return _ENCODER.encode(body.model_dump() if isinstance(body, BaseModel) else body)


def _fields(model: BaseModel) -> Any:
    return model.root if isinstance(model, RootModel) else dict(model)


_ENCODER = json.JSONEncoder(separators=(",", ":"), default=_fields)

# Headers of the response to an accepted request.
ACCEPTANCE_HEADERS = ("Shuttle-Replayed", "Shuttle-Ignored-Fields", "Shuttle-Warnings")


def acceptance_headers(answer: AcceptedBuild) -> dict[str, str]:
    """The headers that inform the caller of an accepted request: replayed, ignored fields, warnings."""
    headers = {}
    if answer.replayed:
        headers["Shuttle-Replayed"] = "true"
    if answer.ignored_fields:
        headers["Shuttle-Ignored-Fields"] = header_list(answer.ignored_fields)
    if answer.warnings:
        headers["Shuttle-Warnings"] = header_list(answer.warnings)
    return headers


def error_answer(error: ShuttleError, form: ErrorForm = contract_form) -> web.Response:
    """The error as JSON."""
    return json_answer(form(failure_of(error)), status=error.status, headers=_error_headers(error))


def _error_headers(error: ShuttleError) -> dict[str, str]:
    """The headers of `error_answer` beside those of its body."""
    if error.status == HTTPStatus.SERVICE_UNAVAILABLE:
        return {"Retry-After": _RETRY_AFTER_SECONDS, **error.headers}
    return error.headers


def error_bytes(error: ShuttleError, form: ErrorForm = contract_form) -> bytes:
    """`error_answer` as it is on the wire, for a connection without a request; it ends the connection."""
    body = _ENCODER.encode(form(failure_of(error))).encode()
    head = [
        f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}",
        "Content-Type: application/json; charset=utf-8",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in _error_headers(error).items()),
        "Connection: close",
    ]
    return "\r\n".join([*head, "", ""]).encode() + body


async def errors_as_json(request: web.Request, handler: Handler, form: ErrorForm | None = None) -> web.StreamResponse:
    """Answer everything that the router or a handler raises as JSON; an unexpected exception is logged and gets 500.

    `form` is that of all errors of the listener; None = it depends on the path.
    """
    form = form or form_at(request.path)
    try:
        return await handler(request)
    except ShuttleError as error:
        return _unless_started(request, error_answer(error, form))
    except web.HTTPException as error:
        return _unless_started(request, _http_answer(error, form))
    except web.RequestPayloadError:
        return error_answer(InvalidRequestError("Send a body that is encoded as its headers say."), form)
    except (ConnectionError, TimeoutError):
        raise  # the client has disconnected or is too slow: nobody receives a response
    except Exception:  # any unexpected exception
        log.exception("request failed", method=request.method, route=_route_of(request))
        bug = ShuttleError("The shuttle has a bug here; see its log.")
        return _unless_started(request, error_answer(bug, form))


def _route_of(request: web.Request) -> str:
    """The pattern of the route, never the path itself; empty if the router failed."""
    match = getattr(request, "_match_info", None)
    return "" if match is None else str(match.route.resource)


def _unless_started(request: web.Request, answer: web.Response) -> web.StreamResponse:
    """The error's response; if a streamed response has already begun, cut the connection instead."""
    if request.get(STREAMING):
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("an error ended the streamed response")
    return answer


_SENTENCES = {
    404: ("not_found", "There is nothing at this address."),
    405: ("method_not_allowed", "This address does not take that method; see the Allow header."),
    413: ("body_too_large", "Send a smaller body."),
    417: ("http_error", "Leave Expect out, or write 100-continue."),
}


def _http_answer(error: web.HTTPException, form: ErrorForm) -> web.Response:
    code, message = _SENTENCES.get(error.status, ("http_error", error.reason))
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
    return json_answer(form(Failure(error.status, code, message)), status=error.status, headers=headers)


def header_list(texts: tuple[str, ...]) -> str:
    """A caller's texts as one header value, percent-encoded where needed; above 4 KiB it ends with `...`."""
    encoded = [quote(text.encode("utf-8", "surrogatepass"), safe=_SAFE_IN_HEADER) for text in texts]
    whole = ", ".join(encoded)
    if len(whole) <= _MAX_HEADER_BYTES:
        return whole
    sizes = accumulate(len(text) + len(", ") for text in encoded)
    fitting = sum(size <= _MAX_HEADER_BYTES - len("...") for size in sizes)
    return ", ".join([*encoded[:fitting], "..."])
