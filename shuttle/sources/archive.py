"""The one place where archives of strangers are read: checked and normalized by a process of its own."""

import asyncio
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import shuttle
from shuttle.errors import BuildFailedError, UnavailableError
from shuttle.sources import SourceLimits
from shuttle.sources.unpack.program import REFUSED

# The standard library and our own package: no environment, no site, no current directory; 30 ms faster, too.
_PROGRAM = """
import sys
sys.path.append(sys.argv.pop(1))
from shuttle.sources.unpack.program import main
sys.exit(main())
"""
_PACKAGES = str(Path(shuttle.__file__).parent.parent)
# The process sees none of our settings, which hold secrets.
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH")
_OUT_OF_TIME = -24  # SIGXCPU


async def normalize(original: Path, normalized: Path, limits: SourceLimits) -> list[str]:
    """Check a tar, tar.gz or zip (told by content) and write what it holds as the tar.gz `normalized`.

    A single directory at the top is removed; owners, odd modes and attributes are lost, the executable bit stays.
    Symbolic links are kept wherever they point. The same original always gives the same bytes. `normalized` is there
    whole or not at all, also when we are killed. Returns warnings for the log.

    Raises:
        BuildFailedError: `archive_path_escapes` (absolute, `..`), `archive_link_escapes` (through a link, a hard link
            out),
            `archive_special_file`, `archive_conflict` (one path, two meanings), `archive_too_large` (bytes, entries,
            names, or the time and memory to read it), `archive_bomb`, `archive_empty`, `archive_truncated` (cut off,
            damaged), `archive_encrypted`, `archive_unknown` (no such archive).
        UnavailableError: the check could not be made now (disk full, the process was killed).
    """
    part = normalized.with_name(f"{normalized.name}.part")
    part.unlink(missing_ok=True)
    order = {"original": str(original.absolute()), "normalized": str(part.absolute()), **asdict(limits)}
    try:
        warnings = await _run(json.dumps(order))
        part.replace(normalized)
    finally:
        part.unlink(missing_ok=True)
    return warnings


async def _run(order: str) -> list[str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-c", _PROGRAM, _PACKAGES, order),
        stdin=asyncio.subprocess.PIPE,  # never written to: its end tells the process that we are gone
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
        start_new_session=True,  # Ctrl-C is for us to handle
    )
    try:
        if process.stdout is None or process.stderr is None:
            raise RuntimeError("asyncio gave no pipe")
        warnings, complaint = await asyncio.gather(process.stdout.read(), process.stderr.read())
        status = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if status == REFUSED:
        refusal = json.loads(complaint)
        raise BuildFailedError(refusal["reason"], refusal["message"])
    if status == _OUT_OF_TIME:
        raise BuildFailedError("archive_too_large", "The archive takes too much time to be read.")
    if status != 0:
        last_line = complaint.decode(errors="replace").strip().rpartition("\n")[2]
        raise UnavailableError(f"The archive could not be checked (exit status {status}): {last_line[:300]}")
    return [str(warning) for warning in json.loads(warnings)]
