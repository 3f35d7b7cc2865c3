"""The program that checks an archive and writes its files as one tar.gz; each archive gets its own process."""

import gzip
import json
import os
import resource
import sys
import tarfile
import threading
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

from shuttle.unpack.entries import Archive, Budget, Content, Entry, RefusedError, damaged, is_companion
from shuttle.unpack.tar import ENCODING, ENCODING_ERRORS, TarArchive
from shuttle.unpack.tree import Tree

REFUSED = 3
"""The exit status of a refused archive; its reason and message are on stderr, as JSON."""

_COPY_BYTES = 256 * 1024
# Python's zipfile needs 600 MB for a zip with half a million entries.
_MEMORY_BYTES = 1024 * 1024 * 1024
# Reads, writes and compression each reach at least 40 MB/s (measured). The limit also ends the check of an archive
# whose headers alone expand to very many bytes.
_CPU_SECONDS, _BYTES_PER_CPU_SECOND = 30, 20_000_000
# From this size the process runs with a lower priority: it uses the CPU for seconds, which would delay the service.
_NICE_FROM_BYTES = 4 * 1024 * 1024
_LATEST = 2**33 - 1  # the maximum of a plain octal field of a tar header; in the year 2242
_OTHERS = {b"BZh": "bzip2", b"\xfd7z": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"7z\xbc": "7z", b"Rar": "rar"}


def main(arguments: str) -> int:
    """Repack the archive that the JSON names; prints warnings on stdout or a refusal on stderr, as JSON.

    Returns the exit status.
    """
    task = json.loads(arguments)
    threading.Thread(target=_end_with_service, daemon=True).start()
    try:
        original = Path(task["original"])
        size_bytes = original.stat().st_size
        budget = Budget(
            size_bytes, task["max_expanded_bytes"], task["max_ratio"], task["ratio_from_bytes"], task["max_entries"]
        )
        if size_bytes > _NICE_FROM_BYTES:
            os.nice(5)
        _set_resource_limits(
            min(task["max_expanded_bytes"], max(task["ratio_from_bytes"], size_bytes * task["max_ratio"]))
        )
        warnings = repack(original, Path(task["normalized"]), budget)
    except RefusedError as refusal:
        return _print_refusal(refusal)
    except MemoryError:
        return _print_refusal(RefusedError("archive_too_large", "The archive needs too much memory to be read."))
    json.dump(warnings, sys.stdout)
    return 0


def _print_refusal(refusal: RefusedError) -> int:
    json.dump({"reason": refusal.reason, "message": refusal.message}, sys.stderr)
    return REFUSED


def _end_with_service() -> None:
    """Exit when the service closes the other end of stdin, as it also happens when the service is killed."""
    os.read(0, 1)
    os._exit(1)


def _set_resource_limits(expanded_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    cpu_seconds = _CPU_SECONDS + expanded_bytes // _BYTES_PER_CPU_SECOND
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def repack(original: Path, normalized: Path, budget: Budget) -> list[str]:
    """Read and check all headers, then copy the files; the same bytes always give the same result.

    Returns warnings.

    Raises:
        RefusedError: the archive cannot be used; `shuttle.sources.archive.normalize` lists the reasons.
    """
    archive = _recognise(original, budget)
    try:
        tree = Tree(2 * budget.max_entries)  # twice, because folders without an entry count, too
        with closing(_members(archive)) as entries:
            for entry in entries:
                budget.add(entry.size_bytes)
                tree.add(entry)
        _write_all(archive, tree, tree.finish(), normalized)
    except archive.errors as error:
        raise damaged(str(error) or type(error).__name__) from None
    return archive.warnings


def _members(archive: Archive) -> Generator[Entry]:
    """The entries except those that macOS added, which are neither counted nor copied."""
    with closing(archive.entries()) as entries:
        yield from (entry for entry in entries if not is_companion(entry))


def _recognise(original: Path, budget: Budget) -> Archive:
    """Detect the format by content; names and declared types are unreliable."""
    with original.open("rb") as file:
        start = file.read(8)
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        from shuttle.unpack.zip import ZipArchive  # noqa: PLC0415 - a tar does not need it

        return ZipArchive(original)
    for magic, name in _OTHERS.items():
        if start.startswith(magic):
            raise RefusedError(
                "archive_unknown", f"The source is {name}, which is not supported: send a tar.gz, tar or zip."
            )
    archive = TarArchive(original, budget)
    if not archive.holds_entries():
        raise RefusedError("archive_empty", "The archive is empty.")
    return archive


def _write_all(archive: Archive, tree: Tree, prefix: str, normalized: Path) -> None:
    with normalized.open("xb") as file:
        with (
            gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=file, mtime=0) as out,
            closing(_members(archive)) as entries,
        ):
            for member in entries:
                if not member.path or f"{member.path}/" == prefix:
                    continue
                entry = tree.resolved(member)
                if not tree.is_superseded(entry):
                    out.write(_header(entry, prefix).tobuf(tarfile.GNU_FORMAT, ENCODING, ENCODING_ERRORS))
                    if entry.content is not None:
                        _copy(entry.content, entry.size_bytes, out)
            out.write(bytes(2 * tarfile.BLOCKSIZE))
        file.flush()
        os.fsync(file.fileno())


def _header(entry: Entry, prefix: str) -> tarfile.TarInfo:
    """The entry's header: without the prefix, with ordinary modes, owned by root. busybox reads the GNU format, too."""
    header = tarfile.TarInfo(entry.path.removeprefix(prefix))
    header.mtime = min(max(entry.modified_at, 0), _LATEST)
    header.mode = 0o755 if entry.kind == "directory" or entry.executable else 0o644
    if entry.kind == "directory":
        header.type = tarfile.DIRTYPE
    elif entry.kind == "symlink":
        header.type, header.linkname, header.mode = tarfile.SYMTYPE, entry.target, 0o777
    elif entry.kind == "hardlink":
        header.type, header.linkname = tarfile.LNKTYPE, entry.target.removeprefix(prefix)
    else:
        header.size = entry.size_bytes
    return header


def _copy(content: Content, size_bytes: int, out: gzip.GzipFile) -> None:
    left = size_bytes
    while left:
        piece = content.read(min(left, _COPY_BYTES))
        if not piece:
            raise damaged("a file is shorter than it claims")
        out.write(piece)
        left -= len(piece)
    out.write(bytes(-size_bytes % tarfile.BLOCKSIZE))
