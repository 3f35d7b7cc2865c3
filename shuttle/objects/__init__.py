"""The object store, which stores sources, archived logs and artifacts by name.

This is its interface. `s3` and `directory` implement it; `tests/contract/test_objects.py` tests both.
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
    """The facts about an object that are known without reading it.

    `sha256` (hex) is None if it was not stored with the object.
    """

    size_bytes: int
    content_type: str
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class OpenObject:
    """An opened object: `size_bytes` is the size of the whole object, `chunks` yields the requested range."""

    size_bytes: int
    content_type: str
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class FilePart:
    """`size_bytes` of a file from `start` on; the file has all of them."""

    start: int
    size_bytes: int


class ObjectStore(Protocol):
    """Stores files under names made of segments `[A-Za-z0-9._~%-]+` joined by `/`.

    Safe for any number of tasks of one event loop. Every method raises ObjectStoreError (retry later) if the store
    refuses, cannot be reached or is full, and ValueError for an invalid name. Other exceptions are named below.
    """

    async def put(self, name: str, path: Path, *, content_type: str, sha256: str = "") -> None:
        """Store the file at `path` as `name`, replacing an existing object; complete and durable when this returns.

        A store in S3 keeps the file's `sha256` (hex) with the object, and `head` returns it.
        Afterwards the file may be deleted but must not be changed: a store on the same disk keeps a hard link to it.
        Raises FileNotFoundError if there is no file at `path`, because a retry would not find it either.
        """

    async def put_part(self, name: str, path: Path, part: FilePart, *, content_type: str) -> None:
        """Like `put`, but stores a part of the file, which may grow meanwhile."""

    def open(self, name: str, *, start: int = 0, length: int | None = None) -> AbstractAsyncContextManager[OpenObject]:
        """Read `length` bytes from `start`, or to the end if `length` is None. A range past the end is cut.

        Raises ObjectNotFoundError on entering.
        """

    async def head(self, name: str) -> ObjectInfo | None:
        """Size, type, and the checksum if the store has it; None = there is no such object."""

    async def delete(self, name: str) -> None:
        """Delete the object, if it exists."""

    async def check(self) -> None:
        """Check by a trial that the store can be read and written now; the error says what to do."""

    async def close(self) -> None:
        """Release threads and connections. Idempotent; a store that was never used can be closed, too."""


def check_name(name: str) -> list[str]:
    """The segments of an object's name.

    Raises:
        ValueError: a segment is empty or contains an invalid character.
    """
    segments = name.split("/")
    if not all(_SEGMENT.fullmatch(segment) for segment in segments):
        raise ValueError("An object's name is made of segments [A-Za-z0-9._~%-]+ joined by slashes.")
    return segments
