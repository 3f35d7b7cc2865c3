"""Completes the future that a caller awaits."""

import asyncio
from typing import Any


def complete(future: asyncio.Future[Any], result: Any) -> None:
    """Set the result, or raise it in the caller if it is an exception. Does nothing if the future is done already."""
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
