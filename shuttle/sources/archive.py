"""Checks and normalizes archives in a separate process, because they come from untrusted callers."""

import asyncio
import json
from collections.abc import Coroutine
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path

from shuttle.errors import BuildFailedError, UnavailableError
from shuttle.sources import SourceLimits
from shuttle.sources.archive_processes import ArchiveProcesses
from shuttle.unpack.fork_server import STARTED
from shuttle.unpack.program import REFUSED

_OUT_OF_TIME = -24  # SIGXCPU
# The fork server starts a process in milliseconds, and a process exits as soon as its input ends.
_REACTION_SECONDS = 30
_PROCESSES = ArchiveProcesses()


async def normalize(original: Path, normalized: Path, limits: SourceLimits) -> list[str]:
    """Check a tar, tar.gz or zip (recognised by its content) and write its files as the tar.gz `normalized`.

    A single top-level directory is removed. Owners, unusual modes and attributes are dropped, the executable bit is
    kept. Symbolic links are kept wherever they point. The same original always gives the same bytes. `normalized` is
    either complete or absent, even if the service is killed. Returns warnings for the log.

    Raises:
        BuildFailedError: `archive_path_escapes` (an absolute path, `..`), `archive_link_escapes` (a path through a
            link, a hard link to a file outside), `archive_special_file`, `archive_conflict` (a path is both a file and
            a directory), `archive_too_large` (bytes, entries, names, or the time and memory to read it),
            `archive_bomb`, `archive_empty`, `archive_truncated` (incomplete or damaged), `archive_encrypted`,
            `archive_unknown` (not a supported archive).
        UnavailableError: the check cannot be done now (the disk is full, the process was killed).
    """
    part = normalized.with_name(f"{normalized.name}.part")
    part.unlink(missing_ok=True)
    task = {"original": str(original.absolute()), "normalized": str(part.absolute()), **asdict(limits)}
    try:
        warnings = await _run(json.dumps(task))
        part.replace(normalized)
    finally:
        part.unlink(missing_ok=True)
    return warnings


async def _run(task: str) -> list[str]:
    try:
        output, status = await _end_of_process(task)
    except OSError as error:
        raise UnavailableError(f"The process that checks archives failed: {error}.") from error
    if status == REFUSED:
        refusal = json.loads(output)
        raise BuildFailedError(refusal["reason"], refusal["message"])
    if status == _OUT_OF_TIME:
        raise BuildFailedError("archive_too_large", "The archive takes too much time to be read.")
    if status != 0:
        last_line = output.decode(errors="replace").strip().rpartition("\n")[2]
        raise UnavailableError(f"The archive could not be checked (exit status {status}): {last_line[:300]}")
    return [str(warning) for warning in json.loads(output)]


async def _end_of_process(task: str) -> tuple[bytes, int]:
    """Run the process; returns its output and exit status."""
    reader, writer = await asyncio.open_connection(sock=_PROCESSES.start())
    with closing(writer):
        await _until_started(reader)
        try:
            writer.write(f"{task}\n".encode())
            output, separator, status = (await reader.read()).rpartition(b"\n")
        finally:
            if not reader.at_eof():  # cancelled: the process ends when its input does
                with suppress(OSError):
                    writer.write_eof()
                    await _reaction(reader.read())
    # If the fork server has ended, the last line is not the exit status, but perhaps a part of a traceback.
    try:
        return output, int(status if separator else b"")
    except ValueError:
        raise ConnectionResetError("its server has ended") from None


async def _until_started(reader: asyncio.StreamReader) -> None:
    if not await _reaction(reader.read(len(STARTED))):
        raise ConnectionResetError("its server has ended")


async def _reaction(answer: Coroutine[None, None, bytes]) -> bytes:
    try:
        async with asyncio.timeout(_REACTION_SECONDS):
            return await answer
    except TimeoutError:
        _PROCESSES.end_server()
        raise TimeoutError("its server does not react") from None
