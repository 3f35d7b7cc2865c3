"""The time that all transactions of one request may take together, so that its caller gets a 503 in time."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

from shuttle.errors import StoreError

_T = TypeVar("_T")

# HTTP clients get a 503 within three seconds.
REQUEST_SECONDS = 2.5


@dataclass(slots=True)
class RequestTime:
    """What is left of a request's time. `over`: its response has begun, or it waits for a build."""

    left_seconds: float
    over: bool = False


# A task that a request starts has the same context, and outlives the request: then `over` ends the limit.
_current: ContextVar[RequestTime | None] = ContextVar("request_time", default=None)


@contextmanager
def limited_request() -> Iterator[None]:
    """Limit the transactions within to REQUEST_SECONDS together."""
    limit = RequestTime(REQUEST_SECONDS)
    token = _current.set(limit)
    try:
        yield
    finally:
        limit.over = True
        _current.reset(token)


def end_limit() -> None:
    """End the limit of the current request: its response begins, or it waits for something else than the database."""
    limit = _current.get()
    if limit is not None:
        limit.over = True


def is_limited() -> bool:
    """Whether this is a request whose response has not begun, so that it should be answered 503 within its time."""
    limit = _current.get()
    return limit is not None and not limit.over


@contextmanager
def transaction_seconds() -> Iterator[float | None]:
    """How long a transaction may take, None = there is no limit; the time within is subtracted from the request's.

    Raises StoreError if nothing is left.
    """
    limit = _current.get()
    if limit is None or limit.over:
        yield None
        return
    if limit.left_seconds <= 0:
        raise StoreError("The database is too slow; send the request again later.")
    began_at = time.monotonic()
    try:
        yield limit.left_seconds
    finally:
        limit.left_seconds -= time.monotonic() - began_at


async def wait_at_most(seconds: float | None, future: asyncio.Future[_T], give_up: Callable[[], None]) -> _T:
    """The result of the future; after `seconds` (None = never) `give_up` is called, which completes it."""
    if seconds is None:
        return await future
    timer = asyncio.get_running_loop().call_later(seconds, give_up)
    try:
        return await future
    finally:
        timer.cancel()
