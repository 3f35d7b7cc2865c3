"""Checks and normalizes archives in a separate process, because they come from untrusted callers."""

import asyncio
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import shuttle
from shuttle.errors import BuildFailedError, UnavailableError
from shuttle.sources import SourceLimits
from shuttle.unpack.program import REFUSED

# The process imports only the standard library and this package: no environment variables, no site-packages, no current
# directory. That also saves 30 ms.
_PROGRAM = """
import sys
sys.path.append(sys.argv.pop(1))
from shuttle.unpack.program import main
sys.exit(main())
"""
_PACKAGES = str(Path(shuttle.__file__).parent.parent)
# The only environment variables that the process gets; the service's settings hold secrets.
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH")
_OUT_OF_TIME = -24  # SIGXCPU


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
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-c", _PROGRAM, _PACKAGES, task),
        stdin=asyncio.subprocess.PIPE,  # never written to; the process ends when it is closed by the service's end
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
        start_new_session=True,  # so that Ctrl-C reaches the service only
    )
    try:
        if process.stdout is None or process.stderr is None:
            raise RuntimeError("asyncio gave no pipe")
        warnings, error_text = await asyncio.gather(process.stdout.read(), process.stderr.read())
        status = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if status == REFUSED:
        refusal = json.loads(error_text)
        raise BuildFailedError(refusal["reason"], refusal["message"])
    if status == _OUT_OF_TIME:
        raise BuildFailedError("archive_too_large", "The archive takes too much time to be read.")
    if status != 0:
        last_line = error_text.decode(errors="replace").strip().rpartition("\n")[2]
        raise UnavailableError(f"The archive could not be checked (exit status {status}): {last_line[:300]}")
    return [str(warning) for warning in json.loads(warnings)]
