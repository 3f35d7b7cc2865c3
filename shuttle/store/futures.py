"""Completes a caller's future."""

import asyncio
from typing import Any


def complete(future: asyncio.Future[Any], result: Any) -> None:
    """Set the result, or the exception if `result` is one; nothing if the caller has been cancelled or answered."""
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
