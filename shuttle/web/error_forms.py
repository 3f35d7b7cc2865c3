"""The bodies of errors in three forms: that of most routes, that below `/-/state`, and that of packer over REST."""

from collections.abc import Callable
from typing import Any, NamedTuple

from shuttle.errors import ShuttleError
from shuttle.web import packerd, state
from shuttle.web.packerd.errors import PackerdError
from shuttle.web.state.details import detail_of


class Failure(NamedTuple):
    """What an error's body may show; `error` is None if the router or aiohttp reports it, like a 404 or 405."""

    status: int
    code: str
    message: str
    field: str | None = None
    error: ShuttleError | None = None


ErrorForm = Callable[[Failure], Any]


def failure_of(error: ShuttleError) -> Failure:
    """What the body of this error may show."""
    return Failure(error.status, error.code, error.message, error.field, error)


def contract_form(failure: Failure) -> dict[str, Any]:
    """`{"status", "code", "message"}`, with `field` if the error names one."""
    body = {"status": "error", "code": failure.code, "message": failure.message}
    return body if failure.field is None else body | {"field": failure.field}


def state_form(failure: Failure) -> dict[str, Any]:
    """`{"detail"}`."""
    return {"detail": failure.message if failure.error is None else detail_of(failure.error)}


def packerd_form(failure: Failure) -> dict[str, Any]:
    """`{"code", "message"}`: the code is a number, and the message names the field, if there is one."""
    error, field = failure.error, failure.field
    names_field = field is None or field in failure.message
    return {
        "code": int(error.number) if isinstance(error, PackerdError) else failure.status,
        "message": failure.message if names_field else f"{field}: {failure.message}",
    }


def form_at(path: str) -> ErrorForm:
    """The form of errors at this path of the main listener."""
    if path.startswith(f"{state.PREFIX}/"):
        return state_form
    return packerd_form if f"{path}/".startswith(f"{packerd.PREFIX}/") else contract_form
