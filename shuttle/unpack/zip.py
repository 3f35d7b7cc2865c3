"""Reads zip files: names in any encoding, symbolic links, and declared sizes, which zipfile compares with the data."""

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

from shuttle.unpack.entries import (
    MAX_PATH_BYTES,
    Entry,
    RefusedError,
    clean_path,
    damaged,
    link_target,
    show,
)

# zipfile reads the central directory at once: 64 MiB are 128 bytes for each of half a million entries.
_MAX_SINGLE_READ_BYTES = 64 * 1024 * 1024
_ENCRYPTED = 0x1 | 0x40
_UTF8_NAME = 0x800
# PKWARE's APPNOTE, 4.4.2, "version made by": these systems store Unix modes in `external_attr` (3 Unix, 19 macOS).
_UNIX = frozenset({3, 19})
# FAT, NTFS, VFAT. Java and git write 0 on any system, but with slashes.
_WINDOWS = frozenset({0, 10, 14})
# Info-ZIP's extra field with the name in UTF-8: a version, the CRC-32 of the entry's own name, the UTF-8 name.
_UNICODE_PATH, _UNICODE_PATH_HEAD = 0x7075, struct.Struct("<BL")
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
        self.warnings: list[str] = []

    def entries(self) -> Generator[Entry]:
        """See Archive."""
        with _Bounded(FileIO(self._path)) as file, zipfile.ZipFile(file) as archive:
            self._refuse_overlaps(archive)
            has_slashes = any("/" in _name(info) for info in archive.infolist())
            for info in archive.infolist():
                yield _entry(info, _posix_name(info, has_slashes), archive)

    def _refuse_overlaps(self, archive: zipfile.ZipFile) -> None:
        """Bytes that several entries share are read once for each: 21 MB with 2,000 entries took two minutes."""
        if sum(info.compress_size for info in archive.infolist()) > self._path.stat().st_size:
            raise damaged("its entries overlap")


class _Bounded(BufferedReader):
    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _MAX_SINGLE_READ_BYTES:
            raise RefusedError("archive_too_large", "The zip has too many entries.")
        return super().read(size)

    def seek(self, target: int, whence: int = os.SEEK_SET, /) -> int:
        # zipfile computes a negative offset if the directory's declared position is wrong.
        if whence == os.SEEK_SET and target < 0:
            raise damaged("an entry begins before its file")
        return super().seek(target, whence)


def _entry(info: zipfile.ZipInfo, name: str, archive: zipfile.ZipFile) -> Entry:
    shown = show(name)
    path = clean_path(name, shown)
    if info.flag_bits & _ENCRYPTED:
        raise RefusedError("archive_encrypted", f"The zip is encrypted ({shown}); send it without a password.")
    mode = info.external_attr >> 16 if info.create_system in _UNIX else 0
    modified_at = _modified_at(info)
    if name.endswith("/") or stat.S_ISDIR(mode) or (not mode and info.external_attr & _DOS_DIRECTORY):
        return Entry(path, "directory", modified_at=modified_at)
    if stat.S_IFMT(mode) not in {0, stat.S_IFREG, stat.S_IFLNK}:
        raise RefusedError("archive_special_file", f"The archive has {shown}, which is not a file, directory or link.")
    if info.compress_type not in _METHODS:
        raise RefusedError("archive_unknown", f"The zip compresses {shown} by an unsupported method; use deflate.")
    if stat.S_ISLNK(mode):
        return Entry(path, "symlink", modified_at=modified_at, target=_target(info, shown, archive))
    return Entry(
        path,
        "file",
        executable=bool(mode & 0o111),
        modified_at=modified_at,
        size_bytes=info.file_size,
        content=_Lazy(archive, info),
    )


def _name(info: zipfile.ZipInfo) -> str:
    """Decode the name as UTF-8 if a flag or the Unicode path field says so or the bytes are valid, else as cp437."""
    name = info.orig_filename
    if info.flag_bits & _UTF8_NAME:
        return name
    raw = name.encode("cp437")
    for text in (_unicode_path(info.extra, raw), raw):
        with suppress(UnicodeError):
            return text.decode()
    return name


def _unicode_path(extra: bytes, raw: bytes) -> bytes:
    """The name in the Unicode path field, if its checksum matches the entry's own name; otherwise the own name."""
    at = 0
    while len(extra) - at >= 4:
        kind, size_bytes = struct.unpack_from("<HH", extra, at)
        field = extra[at + 4 : at + 4 + size_bytes]
        at += 4 + size_bytes
        if kind == _UNICODE_PATH and len(field) > _UNICODE_PATH_HEAD.size:
            version, checksum = _UNICODE_PATH_HEAD.unpack_from(field)
            if version == 1 and checksum == zlib.crc32(raw):
                return field[_UNICODE_PATH_HEAD.size :]
    return raw


def _posix_name(info: zipfile.ZipInfo, has_slashes: bool) -> str:
    """The name with slashes. Backslashes separate only in zips of Windows without any slash; `C:/…` is absolute."""
    name = _name(info)
    if info.create_system not in _WINDOWS:
        return name
    if not has_slashes:
        name = name.replace("\\", "/")
    return f"/{name}" if name[1:2] == ":" else name


def _modified_at(info: zipfile.ZipInfo) -> int:
    """The DOS time read as UTC: the format has no time zone, and the result must not depend on the machine's."""
    year, month, day, hour, minute, second = info.date_time
    return calendar.timegm((year, min(max(month, 1), 12), max(day, 1), hour, minute, second))


def _target(info: zipfile.ZipInfo, shown: str, archive: zipfile.ZipFile) -> str:
    # Reads one byte more than allowed, so that a target that is too long is refused without reading all of it.
    with archive.open(info) as content:
        return link_target(content.read(MAX_PATH_BYTES + 1).decode("utf-8", "surrogateescape"), shown)


class _Lazy:
    """Opens the content at the first read: the first pass over the archive reads headers only."""

    def __init__(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
        self._archive = archive
        self._info = info
        self._content: IO[bytes] | None = None

    def read(self, size: int, /) -> bytes:
        if self._content is None:
            self._content = self._archive.open(self._info)
        return self._content.read(size)
