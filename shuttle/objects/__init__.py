"""Where bytes rest: sources, archived logs and artifacts, by name.

The port; `s3` and `directory` implement it and `tests/contract/test_objects.py` holds both to it.
"""

import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

_SEGMENT = re.compile(r"[A-Za-z0-9._~%\-]+")


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What is known of a stored object without reading it."""

    size_bytes: int
    content_type: str


@dataclass(frozen=True, slots=True)
class OpenObject:
    """An object under reading: `size_bytes` is the whole object's, `chunks` yields the range that was asked for."""

    size_bytes: int
    content_type: str
    chunks: AsyncIterator[bytes]


class ObjectStore(Protocol):
    """Stores files under names made of segments `[A-Za-z0-9._~%-]+` joined by `/`.

    Safe to use from one event loop by any number of tasks. Every method raises ObjectStoreError (retry later) when
    the store refuses, is out of reach or out of space; a name of another form is a ValueError; nothing else escapes.
    """

    async def put(self, name: str, path: Path, *, content_type: str) -> None:
        """Store the file at `path` as `name`, replacing what was there; durable and whole when this returns.

        Afterwards the file may be deleted, but no more written: a store on the same disk keeps it under a second name.
        Raises FileNotFoundError when `path` is gone: no later try would find it.
        """

    def open(self, name: str, *, start: int = 0, length: int | None = None) -> AbstractAsyncContextManager[OpenObject]:
        """Read `length` bytes from `start` (to the end if None); beyond the end there are none.

        Raises ObjectNotFoundError on entering.
        """

    async def head(self, name: str) -> ObjectInfo | None:
        """Size and type; None = there is no such object."""

    async def delete(self, name: str) -> None:
        """Remove it; a missing object is fine."""

    async def check(self) -> None:
        """Prove that the store can be read and written now; the error says in plain words what to do."""

    async def close(self) -> None:
        """Give back threads and connections; also fine twice, and without any use before."""


def check_name(name: str) -> list[str]:
    """The segments of an object's name.

    Raises:
        ValueError: a segment is empty or has a character that no name has.
    """
    segments = name.split("/")
    if not all(_SEGMENT.fullmatch(segment) for segment in segments):
        raise ValueError("An object's name is made of segments [A-Za-z0-9._~%-]+ joined by slashes.")
    return segments
