"""The entries of an archive, independent of its format, and the budget for unpacking them."""

from collections.abc import Generator
from typing import Literal, NamedTuple, Protocol

# Linux's limits (limits.h; PATH_MAX counts the final NUL): longer paths cannot be unpacked on an agent.
MAX_PATH_BYTES = 4095
MAX_NAME_BYTES = 255
# For a path as the archive writes it, with `./` and repeated slashes: their removal takes 20 ms for a megabyte.
MAX_RAW_NAME_BYTES = 2 * MAX_PATH_BYTES

# An entry of a tar has, besides its content, a header and padding, and often an extended header with padding. The tar's
# end is padded to the size of a record, which is 10 KiB unless the program that wrote it chose another.
_FILE_OVERHEAD_BYTES = 4 * 512
_END_BYTES = 64 * 1024

Kind = Literal["file", "directory", "symlink", "hardlink"]


class RefusedError(Exception):
    """The archive cannot be used. `reason` is the build's reason, `message` a sentence."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def damaged(why: str) -> RefusedError:
    """The error for an archive that is incomplete or contradicts itself."""
    return RefusedError("archive_truncated", f"The archive is cut off or damaged: {why}.")


class Content(Protocol):
    """The bytes of a file entry; they can be read until the next entry is requested."""

    def read(self, size: int, /) -> bytes:
        """Read up to `size` bytes; b"" at the end."""


class Entry(NamedTuple):
    """An entry with a clean relative path separated by `/`; names that are not UTF-8 contain surrogate escapes.

    `target` is the unchanged text of a symlink, or the clean path of a hard link. Only files have `size_bytes` and
    `content`.
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
    """Exceptions that the format's library raises for invalid bytes, also while content is read."""

    warnings: list[str]
    """Warnings about an archive that can be used; complete after all entries were read."""

    def entries(self) -> Generator[Entry]:
        """Yield every entry in order; each call starts at the first one. Raises RefusedError."""


def clean_path(name: str, shown: str) -> str:
    """`name` without `.` and repeated slashes; "" = the root itself.

    Raises:
        RefusedError: the path leaves the archive, or no file can have this name.
    """
    if name.startswith("/"):
        raise RefusedError("archive_path_escapes", f"The archive has an absolute path: {shown}.")
    if "\0" in name:
        raise damaged(f"a NUL byte in a name, {shown}")
    if len(name) > MAX_RAW_NAME_BYTES:
        raise _too_long(shown)
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise RefusedError("archive_path_escapes", f"The archive has a path with '..': {shown}.")
    path = "/".join(parts)
    if _bytes(path) > MAX_PATH_BYTES or any(_bytes(part) > MAX_NAME_BYTES for part in parts):
        raise _too_long(shown)
    return path


def _too_long(shown: str) -> RefusedError:
    return RefusedError("archive_too_large", f"The archive has a name too long for any file system: {shown}.")


def link_target(target: str, shown: str) -> str:
    """The unchanged text of a symbolic link. It may point anywhere: nothing is written or read through the link.

    Raises:
        RefusedError: no link can have this text.
    """
    if not target or "\0" in target:
        raise damaged(f"the link {shown} has no path as its target")
    if _bytes(target) > MAX_PATH_BYTES:
        raise RefusedError("archive_too_large", f"The link {shown} has a target too long for any file system.")
    return target


def is_companion(entry: Entry) -> bool:
    """Whether macOS added the entry: AppleDouble files (`._NAME`), their folder in a zip, the Finder's `.DS_Store`.

    Only a `.DS_Store` at the top counts; one in a folder may belong to the project.
    """
    top, _, below = entry.path.partition("/")
    if top == "__MACOSX" or (entry.path == ".DS_Store" and entry.kind == "file"):
        return True
    return entry.kind != "directory" and (below or top).rpartition("/")[2].startswith("._")


def show(name: str) -> str:
    """A name for a message: shortened, on one line, quoted."""
    return ascii(name if len(name) <= 100 else f"{name[:97]}...")


def _bytes(name: str) -> int:
    return len(name.encode("utf-8", "surrogateescape"))


class Budget:
    """Counts the entries and bytes that unpacking would make, as soon as an entry declares them."""

    def __init__(
        self, original_bytes: int, max_bytes: int, max_ratio: int, ratio_from_bytes: int, max_entries: int
    ) -> None:
        self.max_entries = max_entries
        self._max_bytes = max_bytes
        self._bomb_bytes = max(ratio_from_bytes, max_ratio * original_bytes)
        self._max_stream_bytes = max_bytes + _FILE_OVERHEAD_BYTES * max_entries
        self._entries = 0
        self._bytes = 0

    def add(self, size_bytes: int) -> None:
        """Count an entry whose content has `size_bytes`."""
        if size_bytes < 0:  # it would make room for others
            raise damaged("an entry claims a negative size")
        self._entries += 1
        self._bytes += size_bytes
        if self._entries > self.max_entries:
            raise self.too_many()
        self._check(self._bytes, self._bomb_bytes, self._max_bytes)

    def check_stream(self, expanded_bytes: int) -> None:
        """Check the size of a decompressed stream, including the bytes that belong to no entry."""
        around_bytes = _FILE_OVERHEAD_BYTES * (self._entries + 1) + _END_BYTES
        self._check(expanded_bytes, self._bomb_bytes + around_bytes, self._max_stream_bytes)

    def too_many(self) -> RefusedError:
        """The error for an archive with more entries than allowed."""
        return RefusedError("archive_too_large", f"The archive has more than {self.max_entries} entries.")

    def _check(self, size_bytes: int, bomb_bytes: int, max_bytes: int) -> None:
        if size_bytes > bomb_bytes:
            raise RefusedError(
                "archive_bomb",
                "The archive expands to many times its size, like a decompression bomb; compress the files less.",
            )
        if size_bytes > max_bytes:
            raise RefusedError("archive_too_large", f"The archive expands to more than {self._max_bytes} bytes.")
