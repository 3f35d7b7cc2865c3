"""Return of freed memory to the system; without it glibc keeps as much as a burst of requests once used.

Measured after 144 POSTs of up to 4 MB of JSON: 85 MiB more were resident than before, and 49 MiB with this module. A
call takes 5 ms in a thread.
"""

import asyncio
import ctypes
from collections.abc import Callable

_EVERY_SECONDS = 60.0
# Larger allocations are mapped separately and returned at once. Without a setting the threshold grows to 32 MiB.
_MAPPED_FROM_BYTES = 1024 * 1024
# <malloc.h>
_M_MMAP_THRESHOLD = -3


def map_large_allocations() -> None:
    """Set glibc's threshold for mapped allocations; to be called at the start."""
    mallopt = _function("mallopt")
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MAPPED_FROM_BYTES)


async def trim_memory() -> None:
    """Return free memory once a minute, until cancelled. Ends at once without glibc (musl returns memory itself)."""
    trim = _function("malloc_trim")
    while trim is not None:
        await asyncio.sleep(_EVERY_SECONDS)
        await asyncio.to_thread(trim, 0)


def _function(name: str) -> Callable[..., int] | None:
    found: Callable[..., int] | None = getattr(ctypes.CDLL(None), name, None)
    return found
