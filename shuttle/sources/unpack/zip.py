"""Reading zip: names of every origin, symbolic links, sizes as declared (which zipfile then holds the data to)."""

import calendar
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Generator
from contextlib import suppress
from io import BufferedReader, FileIO
from pathlib import Path
from typing import IO

from shuttle.sources.unpack.entries import MAX_PATH_BYTES, Entry, RefusedError, clean_path, damaged, show

# zipfile reads the central directory whole: 128 bytes an entry at half a million entries.
_MAX_SINGLE_READ_BYTES = 64 * 1024 * 1024
_ENCRYPTED = 0x1 | 0x40
_UTF8_NAME = 0x800
# PKWARE's APPNOTE, 4.4.2: "version made by"; these systems give `external_attr` Unix modes (3 Unix, 19 macOS).
_UNIX = frozenset({3, 19})
_DOS_DIRECTORY = 0x10
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})


class ZipArchive:
    """A zip file, also with zip64 records and data descriptors."""

    errors: tuple[type[Exception], ...] = (
        *(zipfile.BadZipFile, zlib.error, EOFError, ValueError, OverflowError, LookupError, struct.error),
        NotImplementedError,  # versions and methods that zipfile does not know
    )

    def __init__(self, path: Path) -> None:
        self._path = path

    def entries(self) -> Generator[Entry]:
        """See Archive; what the Finder adds for itself (`__MACOSX/`) is left out."""
        with _Bounded(FileIO(self._path)) as file, zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                entry = _entry(info, archive)
                if entry.path.partition("/")[0] != "__MACOSX":
                    yield entry


class _Bounded(BufferedReader):
    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _MAX_SINGLE_READ_BYTES:
            raise RefusedError("archive_too_large", "The zip has too many entries.")
        return super().read(size)

    def seek(self, target: int, whence: int = os.SEEK_SET, /) -> int:
        # As zipfile reckons where an entry is, when the directory's own place is told wrongly.
        if whence == os.SEEK_SET and target < 0:
            raise damaged("an entry begins before its file")
        return super().seek(target, whence)


def _entry(info: zipfile.ZipInfo, archive: zipfile.ZipFile) -> Entry:
    name = _name(info)
    shown = show(name)
    path = clean_path(name, shown)
    if info.flag_bits & _ENCRYPTED:
        raise RefusedError("archive_encrypted", f"The zip is encrypted ({shown}); send it without a password.")
    mode = info.external_attr >> 16 if info.create_system in _UNIX else 0
    modified_at = _modified_at(info)
    if name.endswith("/") or stat.S_ISDIR(mode) or (not mode and info.external_attr & _DOS_DIRECTORY):
        return Entry(path, "directory", modified_at=modified_at)
    if stat.S_IFMT(mode) not in {0, stat.S_IFREG, stat.S_IFLNK}:
        raise RefusedError("archive_special_file", f"The archive has {shown}, which is no file, directory or link.")
    if info.compress_type not in _METHODS:
        raise RefusedError("archive_unknown", f"The zip compresses {shown} in an unusual way; use deflate.")
    if stat.S_ISLNK(mode):
        return Entry(path, "symlink", modified_at=modified_at, target=_target(info, archive))
    return Entry(
        path,
        "file",
        executable=bool(mode & 0o111),
        modified_at=modified_at,
        size_bytes=info.file_size,
        content=_Lazy(archive, info),
    )


def _name(info: zipfile.ZipInfo) -> str:
    """Undo zipfile's cp437 where the bytes are UTF-8 without the flag; DOS separators become slashes."""
    name = info.orig_filename
    if not info.flag_bits & _UTF8_NAME:
        with suppress(UnicodeError):  # an old program's code page, which nothing tells: cp437 is what the format says
            name = name.encode("cp437").decode()
    if info.create_system in _UNIX:
        return name
    name = name.replace("\\", "/")
    return f"/{name}" if name[1:2] == ":" else name  # `C:/…` is as absolute as `/…`


def _modified_at(info: zipfile.ZipInfo) -> int:
    """The DOS time, taken for UTC: the format has no zone, and the result must not depend on ours."""
    year, month, day, hour, minute, second = info.date_time
    return calendar.timegm((year, min(max(month, 1), 12), max(day, 1), hour, minute, second))


def _target(info: zipfile.ZipInfo, archive: zipfile.ZipFile) -> str:
    if info.file_size > MAX_PATH_BYTES:
        raise damaged(f"the link {show(info.filename)} has no path as its target")
    return archive.read(info).decode("utf-8", "surrogateescape")


class _Lazy:
    """Opened at the first read, since the first pass over an archive reads no file of a zip."""

    def __init__(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
        self._archive = archive
        self._info = info
        self._content: IO[bytes] | None = None

    def read(self, size: int, /) -> bytes:
        if self._content is None:
            self._content = self._archive.open(self._info)
        return self._content.read(size)
