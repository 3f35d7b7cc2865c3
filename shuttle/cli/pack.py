"""Packs a local source as a data: URL, so that the request contains it."""

import base64
import gzip
import io
import os
import tarfile
from pathlib import Path

from shuttle.cli.failures import UsageError

# SHUTTLE_MAX_BODY_BYTES is 64 MiB by default, base64 turns 3 bytes into 4, and the rest of the request needs space too.
MAX_ARCHIVE_BYTES = 47 * 1024 * 1024
_LEFT_OUT = frozenset({".git"})


def source_url(source: str) -> str:
    """The URL for `--source`: a URL unchanged; a directory packed as tar.gz or an archive file as a data: URL.

    Raises:
        UsageError: there is no such file or directory, or it is too large for a request.
    """
    if "://" in source or source.startswith("data:"):
        return source
    path = Path(source).expanduser()
    if path.is_dir():
        return _data_url(pack(path), "application/gzip")
    if path.is_file():
        if path.stat().st_size > MAX_ARCHIVE_BYTES:
            raise _too_large(source)
        return _data_url(path.read_bytes(), "application/octet-stream")
    raise UsageError(f"--source {source} is neither a URL nor a file or directory on this machine.")


def pack(directory: Path) -> bytes:
    """The directory as tar.gz without `.git`. Equal trees give equal bytes, so that submitting again is idempotent."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path in _files(directory):
            archive.add(path, arcname=path.relative_to(directory).as_posix(), recursive=False, filter=_anonymous)
            if buffer.tell() > MAX_ARCHIVE_BYTES:
                raise _too_large(str(directory))
    if buffer.tell() > MAX_ARCHIVE_BYTES:
        raise _too_large(str(directory))
    return buffer.getvalue()


def _files(directory: Path) -> list[Path]:
    found = []
    for parent, directories, files in os.walk(directory):
        directories[:] = sorted(set(directories) - _LEFT_OUT)
        found += [Path(parent, name) for name in (*directories, *files) if name not in _LEFT_OUT]
    return sorted(found)


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """The entry without its owner, which is not a part of the source."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = int(entry.mtime)
    return entry


def _data_url(archive: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(archive).decode()}"


def _too_large(source: str) -> UsageError:
    return UsageError(
        f"{source} is larger than {MAX_ARCHIVE_BYTES // 1024 // 1024} MiB packed, the limit for a request;"
        " put an archive of it on a web server and give its URL."
    )
