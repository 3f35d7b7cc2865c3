"""What an archive holds, entry by entry, whatever its format; and what it may cost."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal, Protocol

# Linux's own limits (limits.h; PATH_MAX counts the final NUL): nothing longer can be unpacked on an agent.
MAX_PATH_BYTES = 4095
MAX_NAME_BYTES = 255

Kind = Literal["file", "directory", "symlink", "hardlink"]


class RefusedError(Exception):
    """The archive cannot be used: the build's reason, and a sentence."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def damaged(why: str) -> RefusedError:
    """The archive ends too early, or contradicts itself."""
    return RefusedError("archive_truncated", f"The archive is cut off or damaged: {why}.")


class Content(Protocol):
    """The bytes of a file entry, readable only until the next entry is asked for."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; none at the end."""


@dataclass(slots=True)
class Entry:
    """One entry with a clean relative path, `/` between its parts; names that are not UTF-8 hold surrogate escapes.

    `target` is a symlink's text as it is, or a hardlink's clean path; `size_bytes` and `content` are a file's.
    """

    path: str
    kind: Kind
    executable: bool = False
    modified_at: int = 0
    size_bytes: int = 0
    target: str = ""
    content: Content | None = None


class Archive(Protocol):
    """An archive of one format."""

    errors: tuple[type[Exception], ...]
    """What its library raises for bytes that somebody made up, also while content is read."""

    warnings: list[str]
    """What people should know though the archive is used; complete once all entries were read."""

    def entries(self) -> Generator[Entry]:
        """Every entry in order, each time from the start. Raises RefusedError."""


def clean_path(name: str, shown: str) -> str:
    """`name` without `.` and doubled slashes; "" = the root itself.

    Raises:
        RefusedError: it leads out, or is no name that a file can have.
    """
    if name.startswith("/"):
        raise RefusedError("archive_path_escapes", f"The archive has an absolute path: {shown}.")
    if "\0" in name:
        raise damaged(f"a NUL byte in a name, {shown}")
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise RefusedError("archive_path_escapes", f"The archive has a path with '..': {shown}.")
    path = "/".join(parts)
    if _bytes(path) > MAX_PATH_BYTES or any(_bytes(part) > MAX_NAME_BYTES for part in parts):
        raise RefusedError("archive_too_large", f"The archive has a name too long for any file system: {shown}.")
    return path


def link_target(target: str, shown: str) -> str:
    """A symbolic link's text as it is, wherever it points: nothing is written or read through the link.

    Raises:
        RefusedError: no link can have that text.
    """
    if not target or "\0" in target or _bytes(target) > MAX_PATH_BYTES:
        raise damaged(f"the link {shown} has no path as its target")
    return target


def is_companion(entry: Entry) -> bool:
    """Whether macOS added it: AppleDouble files (`._NAME`), the Finder's folder for them in a zip, its own notes.

    A `.DS_Store` below the top may be a file of the project.
    """
    top, _, below = entry.path.partition("/")
    if top == "__MACOSX" or (entry.path == ".DS_Store" and entry.kind == "file"):
        return True
    return entry.kind != "directory" and (below or top).rpartition("/")[2].startswith("._")


def show(name: str) -> str:
    """A name for a message: short, on one line, quoted."""
    return ascii(name if len(name) <= 100 else f"{name[:97]}...")


def _bytes(name: str) -> int:
    return len(name.encode("utf-8", "surrogateescape"))


class Budget:
    """Counts what the archive's entries would cost unpacked, as soon as they are declared."""

    def __init__(
        self, original_bytes: int, max_bytes: int, max_ratio: int, ratio_from_bytes: int, max_entries: int
    ) -> None:
        self.max_entries = max_entries
        self._max_bytes = max_bytes
        self._bomb_bytes = max(ratio_from_bytes, max_ratio * original_bytes)
        # What an entry costs in a tar besides its content: a header, padding, often an extended header with both.
        self._max_stream_bytes = max_bytes + 4 * 512 * max_entries
        self._entries = 0
        self._bytes = 0

    def add(self, size_bytes: int) -> None:
        """Count an entry whose content has `size_bytes`."""
        self._entries += 1
        self._bytes += size_bytes
        if self._entries > self.max_entries:
            raise self.too_many()
        self._check(self._bytes, self._max_bytes)

    def check_stream(self, expanded_bytes: int) -> None:
        """Judge a compressed stream by all that came out of it, entries or not."""
        self._check(expanded_bytes, self._max_stream_bytes)

    def too_many(self) -> RefusedError:
        """More entries than allowed."""
        return RefusedError("archive_too_large", f"The archive has more than {self.max_entries} entries.")

    def _check(self, size_bytes: int, max_bytes: int) -> None:
        if size_bytes > self._bomb_bytes:
            raise RefusedError(
                "archive_bomb",
                "The archive expands out of all proportion to its size, like a bomb; send the files less compressed.",
            )
        if size_bytes > max_bytes:
            raise RefusedError("archive_too_large", f"The archive expands to more than {self._max_bytes} bytes.")
