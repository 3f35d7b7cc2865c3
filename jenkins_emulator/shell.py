"""`sh`: a script in its own session, with its output and exit status on disk, so that it survives this server."""

import asyncio
import os
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

from jenkins_emulator.recorder import Recorder

# Creating `pid` with noclobber claims the step: a second wrapper for the same step runs nothing. As in Jenkins' own
# wrapper, only the script has the step's cookie, so a stop does not end the wrapper, and the wrapper's environment can
# be read for some time after the step. The wrapper closes its standard input, a pipe, when the result exists: this is
# the signal for `ended`. Its standard error is discarded: it has only the shell's messages about scripts that a signal
# ended.
_WRAPPER = """
set -C; { echo $$ > "$1/pid"; } 2>/dev/null || exit 0; set +C
step=$1 cookie=$2; shift 2
JENKINS_SERVER_COOKIE=$cookie "$@" </dev/null 2>&1
code=$?
[ $code != 143 ] || echo Terminated
echo $code > "$step/result"
exec sleep 3 </dev/null >/dev/null
"""

# The exit status if the file was never written: Jenkins uses -1 for a lost process.
LOST = -1


class Shell:
    """One `sh` step; create it through `Shells.start`."""

    def __init__(self, key: str, directory: Path, recorder: Recorder) -> None:
        """`directory` is that of the step (script, output, pid, result)."""
        self._key = key
        self._directory = directory
        self._recorder = recorder
        self._process: subprocess.Popen[bytes] | None = None
        self._output = -1
        self._result_pipe = -1
        self._seen_bytes = -1

    @property
    def cookie(self) -> str:
        """The value of JENKINS_SERVER_COOKIE in the script's processes."""
        return self._directory.name

    @property
    def has_ended(self) -> bool:
        """Whether the script's exit status is known."""
        return self._result() is not None

    def prepare(self, script: str) -> None:
        """Write the script, unless an earlier process has written it."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._directory / "script.sh"
        if not path.exists():
            path.with_suffix(".new").write_text(script, encoding="utf-8", errors="surrogateescape")
            path.with_suffix(".new").rename(path)
        self._output = os.open(self._directory / "output", os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def launch(self, script: str, environment: Mapping[str, str], workspace: Path) -> None:
        """Start the wrapper, unless the step is already claimed."""
        if self._pid() is not None:
            return
        arguments = [*_interpreter(script), str(self._directory / "script.sh")]
        self._result_pipe, writing = os.pipe()
        try:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _WRAPPER, "sh", str(self._directory), self.cookie, *arguments],
                cwd=workspace,
                env=dict(environment),
                stdin=writing,
                stdout=self._output,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        finally:
            os.close(writing)

    async def ended(self, poll_seconds: float) -> int:
        """Wait for the exit status; LOST if the wrapper vanished without writing one."""
        if self._result_pipe >= 0:
            await _readable(self._result_pipe)
        while (status := self._result()) is None:
            pid = self._pid()
            if pid is None or not _is_wrapper(pid, self._directory):
                return LOST if (status := self._result()) is None else status
            await asyncio.sleep(poll_seconds)  # an earlier server started it, so there is no signal to wait for
        return status

    def copy_output(self, *, unfinished: bool = False, final: bool = False) -> bool:
        """Copy new output to the build's log (`unfinished`: also a partial line); returns whether there may be more."""
        size = os.fstat(self._output).st_size
        if size == self._seen_bytes and not final:
            return False
        more = self._recorder.copy(self._key, self._output, final=final or unfinished)
        if not more:
            self._seen_bytes = size
        return more

    def end_output(self) -> None:
        """End the step's output, so that the next text in the log begins a new line."""
        self._recorder.end_line(f"{self._key}:line-end")

    def close(self) -> subprocess.Popen[bytes] | None:
        """Close the files; processes continue. Returns the wrapper to wait for, if it is a child of this process."""
        for fd in (self._output, self._result_pipe):
            if fd >= 0:
                os.close(fd)
        self._output = self._result_pipe = -1
        process, self._process = self._process, None
        return process

    def _pid(self) -> int | None:
        return _number(self._directory / "pid")

    def _result(self) -> int | None:
        return _number(self._directory / "result")


def _interpreter(script: str) -> list[str]:
    """The interpreter in the `#!` line, read as the kernel does; without one `sh -xe`, as in Jenkins."""
    if not script.startswith("#!"):
        return ["/bin/sh", "-xe"]
    return script[2:].split("\n", 1)[0].strip().split(None, 1) or ["/bin/sh"]


def _number(path: Path) -> int | None:
    """The number in a file that `echo` writes; it is complete once it ends with a line break."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    return int(text) if text.endswith("\n") else None


def _is_wrapper(pid: int, directory: Path) -> bool:
    """Whether `pid` is still this step's wrapper, and not a later process with the same pid."""
    try:
        return os.fsencode(str(directory)) in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return False
    listed = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return str(directory) in listed.stdout or shlex.quote(str(directory)) in listed.stdout


async def _readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(fd, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(fd)
