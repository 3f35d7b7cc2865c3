"""Reads tar and tar.gz: forward only, in pieces of limited size, and within the budget."""

import os
import tarfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Self, cast

from shuttle.unpack.entries import Budget, Entry, RefusedError, clean_path, damaged, link_target, show
from shuttle.unpack.gzip_stream import GzipStream, Readable, starts_gzip
from shuttle.unpack.pax import Fields

ENCODING, ENCODING_ERRORS = "utf-8", "surrogateescape"

_BLOCK = 512
_SKIP_BYTES = 256 * 1024
# A program that compresses all files that it stores turns a tar.gz into a gzip within a gzip. No known program
# compresses a third time.
_MAX_GZIPS = 2
# Types of entries that only GNU tar writes: a volume label (`tar -V`), a folder with a list of its files (`tar -g`).
_VOLUME_LABEL, _LISTED_FOLDER = b"V", b"D"
# tarfile reads an extended header at once, whatever size it declares. Real ones (long names, attributes) are smaller.
_MAX_HEADER_BYTES = 1024 * 1024


class TarArchive:
    """A tar, or a tar.gz."""

    errors: tuple[type[Exception], ...] = (
        *(tarfile.TarError, EOFError, zlib.error, ValueError, OverflowError, LookupError),
        RecursionError,  # too many extended headers one after another
    )

    def __init__(self, path: Path, budget: Budget) -> None:
        self._path = path
        self._budget = budget
        self._gzips = 0
        self.warnings: list[str] = []

    def holds_entries(self) -> bool:
        """Whether the first block is a header; False = the archive is empty.

        Raises:
            RefusedError: `archive_unknown`, the file is not a tar.
        """
        block = b""
        try:
            block = self._first_block()
            _Header.frombuf(block, ENCODING, ENCODING_ERRORS)
        except tarfile.HeaderError:
            if not block.strip(b"\0") and len(block) in {0, _BLOCK}:
                return False
            inside = " inside the gzip" if self._gzips else ""
            raise RefusedError(
                "archive_unknown", f"The source is not a supported archive{inside}: send a tar.gz, tar or zip."
            ) from None
        except self.errors as error:
            raise damaged(str(error) or type(error).__name__) from None
        return True

    def _first_block(self) -> bytes:
        """The first block of the tar, after all layers of gzip are removed."""
        while True:
            with self._stream() as stream:
                block = stream.read(_BLOCK)
            if not starts_gzip(block):
                return block
            self._gzips += 1
            if self._gzips > _MAX_GZIPS:
                raise RefusedError(
                    "archive_unknown", "The source is a gzip in a gzip in a gzip; send a tar that is compressed once."
                )

    def entries(self) -> Generator[Entry]:
        """See Archive."""
        with self._stream() as stream:
            tar = tarfile.TarFile(
                fileobj=cast("BinaryIO", stream), tarinfo=_Header, encoding=ENCODING, errors=ENCODING_ERRORS
            )
            header = tar.next()
            while header is not None:
                if header.type != _VOLUME_LABEL:
                    yield _entry(header, tar)
                stream.seek(tar.offset)
                header = self._next(tar)
            stream.drain()

    def _next(self, tar: tarfile.TarFile) -> tarfile.TarInfo | None:
        """Like TarFile.next, except that an unreadable header is an error, and headers are not kept in memory."""
        try:
            return _Header.fromtarfile(tar)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined] # typeshed leaves these two out
            return None
        except tarfile.EmptyHeaderError:  # type: ignore[attr-defined]
            if self._gzips:  # some programs write no end mark; the gzip's checksum then proves that nothing is missing
                return None
            raise

    @contextmanager
    def _stream(self) -> Iterator["_ForwardReader"]:
        gzips: list[GzipStream] = []
        with self._path.open("rb") as file:
            stream = _ForwardReader(file)
            for _ in range(self._gzips):
                gzips.append(GzipStream(stream))
                stream = _ForwardReader(gzips[-1].buffered(), self._budget, stream)
            yield stream
        if any(gzip.has_trailing_bytes for gzip in gzips):
            self.warnings = ["the bytes after the end of the gzip are ignored"]


class _Header(tarfile.TarInfo):
    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Like tarfile, which mistakes the times that GNU tar writes (`tar -g`) for a prefix of the name."""
        header = super().frombuf(buf, encoding, errors)
        if buf[257:265] == tarfile.GNU_MAGIC:
            header.name = bytes(buf[:100]).partition(b"\0")[0].decode(ENCODING, ENCODING_ERRORS)
        return header

    def _proc_pax(self, tar: Any) -> tarfile.TarInfo:
        """Like tarfile, which however takes too much time for hostile headers; see `shuttle.unpack.pax`."""
        of_all_entries = self.type == tarfile.XGLTYPE
        own = Fields.read(
            tar.fileobj.read(_whole_blocks(self.size)), ENCODING, ENCODING_ERRORS, of_all_entries=of_all_entries
        )
        if of_all_entries:
            tar.pax_headers.update(own.values)
        values = {**tar.pax_headers, **own.values}
        try:
            described = self.fromtarfile(tar)
        except tarfile.HeaderError as error:
            raise tarfile.SubsequentHeaderError(str(error)) from None  # type: ignore[attr-defined]
        if not of_all_entries:
            self._describe(described, own, values, tar)
        return described

    def _describe(self, described: Any, own: Fields, values: dict[str, str], tar: Any) -> None:
        sparse_map = own.sparse_map(values)
        if sparse_map is not None:
            described.sparse = sparse_map
        elif (values.get("GNU.sparse.major"), values.get("GNU.sparse.minor")) == ("1", "0"):
            self._proc_gnusparse_10(described, values, tar)  # type: ignore[attr-defined]
        described._apply_pax_info(values, ENCODING, ENCODING_ERRORS)  # noqa: SLF001 - of the same class
        described.offset = self.offset
        if "size" in values:
            tar.offset = described.offset_data
            if described.isreg() or described.type not in tarfile.SUPPORTED_TYPES:
                tar.offset += _whole_blocks(described.size)


def _whole_blocks(size_bytes: int) -> int:
    return size_bytes + -size_bytes % _BLOCK


def _entry(header: tarfile.TarInfo, tar: tarfile.TarFile) -> Entry:
    shown = show(header.name)
    path = clean_path(header.name, shown)
    modified_at = int(header.mtime)
    if header.isdir() or header.type == _LISTED_FOLDER:
        return Entry(path, "directory", modified_at=modified_at)
    if header.issym():
        return Entry(path, "symlink", modified_at=modified_at, target=link_target(header.linkname, shown))
    if header.islnk():
        return Entry(path, "hardlink", modified_at=modified_at, target=_hardlink_target(header.linkname, shown))
    if not header.isreg() or header.type not in tarfile.SUPPORTED_TYPES:
        raise RefusedError("archive_special_file", f"The archive has {shown}, which is not a file, directory or link.")
    return Entry(
        path,
        "file",
        executable=bool(header.mode & 0o111),
        modified_at=modified_at,
        size_bytes=header.size,
        content=tar.extractfile(header),
    )


def _hardlink_target(target: str, shown: str) -> str:
    try:
        return clean_path(target, shown)
    except RefusedError:
        raise RefusedError(
            "archive_link_escapes", f"The hard link {shown} in the archive points outside of it."
        ) from None


class _ForwardReader:
    """The stream that tarfile reads: forward only, with limited reads; counts all decompressed bytes."""

    def __init__(self, stream: Readable, budget: Budget | None = None, packed: "_ForwardReader | None" = None) -> None:
        self._stream = stream
        self._budget = budget
        self._packed = packed
        self._position = 0
        self._reads_past_end = 0

    def read(self, size: int) -> bytes:
        """Read up to `size` bytes."""
        if size > _MAX_HEADER_BYTES:
            raise RefusedError(
                "archive_too_large", f"The archive has an extended header of more than {_MAX_HEADER_BYTES} bytes."
            )
        piece = self._stream.read(size)
        self._position += len(piece)
        if self._budget is not None:
            self._budget.check_stream(self._position)
        if size and not piece:
            # tarfile would search for the end of a sparse file's map forever.
            self._reads_past_end += 1
            if self._reads_past_end > 2:
                raise damaged("it ends within an entry")
        return piece

    def tell(self) -> int:
        """The current position."""
        return self._position

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        """Skip to `position`. Only a damaged archive makes tarfile seek backwards."""
        if whence != os.SEEK_SET or position < self._position:
            raise damaged("an entry claims a negative size")
        while self._position < position:
            if not self.read(min(position - self._position, _SKIP_BYTES)):
                raise damaged("it ends within an entry")
        return position

    def drain(self) -> None:
        """Read the bytes after the end mark, so that the checksums of all gzip layers are verified."""
        self._reads_past_end = 0
        while self.read(_SKIP_BYTES):
            pass
        if self._packed is not None:
            self._packed.drain()
