"""Which file of a directory store has which object, and the other way round."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from shuttle.objects import check_name

INCOMING = "=incoming"
# Most file systems allow names of 255 bytes; a longer segment is shortened and gets a digest as its suffix.
_MAX_SEGMENT = 200
_UNKNOWN_TYPE = "application/octet-stream"
_TYPE, _DOTS = "=type", "=dots"


def file_of(root: Path, name: str) -> Path:
    """The file of the object of that name. Raises ValueError for an invalid name."""
    *folders, last = (_short(segment) for segment in check_name(name))
    return root.joinpath(*(f"{folder}+" for folder in folders), last)


def object_files(root: Path) -> Iterator[tuple[Path, str | None]]:
    """All files of objects, with the objects' names; None = the name was too long for a file.

    A file that another program put into the directory is left out if its name cannot be that of an object.
    """
    for path in root.rglob("*"):
        *folders, last = path.relative_to(root).parts
        if INCOMING in folders or last.endswith(_TYPE) or not path.is_file():
            continue
        segments = [*(folder.removesuffix("+") for folder in folders), last]
        name = "/".join(segment.removesuffix(_DOTS) for segment in segments)
        try:
            if file_of(root, name) == path:
                yield path, name
        except ValueError:
            if any("=" in segment.removesuffix(_DOTS) for segment in segments):
                yield path, None


def type_path(path: Path) -> Path:
    """The file that has the type of the object in the file `path`."""
    return path.with_name(path.name + _TYPE)


def read_type(path: Path) -> str:
    """The type of the object in the file `path`."""
    try:
        return type_path(path).read_text()
    except FileNotFoundError:  # the directory store did not write this file
        return _UNKNOWN_TYPE


def _short(segment: str) -> str:
    if segment in {".", ".."}:
        return f"{segment}{_DOTS}"
    if len(segment) <= _MAX_SEGMENT:
        return segment
    return f"{segment[:100]}={hashlib.sha256(segment.encode()).hexdigest()}"
