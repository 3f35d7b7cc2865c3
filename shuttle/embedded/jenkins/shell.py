"""`sh`: a script in a session of its own, its output and exit status on disk, so that it outlives this server."""

import asyncio
import contextlib
import os
import shlex
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from shuttle.embedded.jenkins.recorder import Recorder

# Creating `pid` under noclobber is the claim: whoever starts this wrapper a second time for the same step runs nothing.
# TERM is caught only once the script runs: before, it ends both, so that no stop is lost in between. A caught signal
# interrupts `wait`, hence the loop. `Terminated` is what Jenkins' own wrapper shell says then.
_WRAPPER = """
set -C; { echo $$ > "$1/pid"; } 2>/dev/null || exit 0; set +C
step=$1; shift
"$@" &
child=$! stopped=
trap stopped=1 TERM INT HUP
while wait $child; code=$?; kill -0 $child 2>/dev/null; do :; done
[ "$stopped$code" != 1143 ] || echo Terminated
echo $code > "$step/result"
"""

# What the exit status file would have said had it been written: Jenkins uses -1 for a lost process.
LOST = -1


class Shell:
    """One `sh` step; create it through `Shells.run`."""

    def __init__(self, key: str, directory: Path, recorder: Recorder) -> None:
        """`directory` is the step's own (script, output, pid, result)."""
        self._key = key
        self._directory = directory
        self._recorder = recorder
        self._process: subprocess.Popen[bytes] | None = None
        self._output = -1
        self._seen_bytes = -1

    def prepare(self, script: str) -> None:
        """Write the script, unless an earlier process did."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._directory / "script.sh"
        if not path.exists():
            path.with_suffix(".new").write_text(script, encoding="utf-8", errors="surrogateescape")
            path.with_suffix(".new").rename(path)
        self._output = os.open(self._directory / "output", os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def launch(self, script: str, environment: Mapping[str, str], workspace: Path) -> None:
        """Start the wrapper, unless the step has been claimed already."""
        if self._pid() is not None:
            return
        arguments = [*_interpreter(script), str(self._directory / "script.sh")]
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _WRAPPER, "sh", str(self._directory), *arguments],
            cwd=workspace,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            start_new_session=True,
        )

    async def ended(self, poll_seconds: float) -> int:
        """Wait for the process; its exit status, or LOST when it vanished without one."""
        if self._process is not None:
            await _until_gone(self._process.pid, poll_seconds, self._process)
        while (status := self._result()) is None:
            pid = self._pid()
            if pid is None or not _is_wrapper(pid, self._directory):
                return LOST if (status := self._result()) is None else status
            await _until_gone(pid, poll_seconds, None)
        return status

    def copy_output(self, *, final: bool = False) -> bool:
        """Move new output into the build's log; returns whether there may be more."""
        size = os.fstat(self._output).st_size
        if size == self._seen_bytes and not final:
            return False
        more = self._recorder.copy(self._key, self._output, final=final)
        if not more:
            self._seen_bytes = size
        return more

    def signal(self, number: signal.Signals) -> None:
        """Send to every process of the step's session; harmless when it is gone."""
        if self._process is not None and self._process.poll() is None:
            pid = self._process.pid  # our child: its number is no one else's
        else:
            attached = self._pid()
            if attached is None or not _is_wrapper(attached, self._directory):
                return
            pid = attached
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, number)

    def close(self) -> None:
        """Release the output file; the process, if any, runs on."""
        if self._output >= 0:
            os.close(self._output)
            self._output = -1
        if self._process is not None and self._process.poll() is None:
            self._process.returncode = 0  # not ours to wait for any more: another server may attach to it
            self._process = None

    def _pid(self) -> int | None:
        return _number(self._directory / "pid")

    def _result(self) -> int | None:
        return _number(self._directory / "result")


class Shells:
    """Runs the `sh` steps of all builds and moves their output with one timer for all of them."""

    def __init__(self, poll_seconds: float) -> None:
        """`poll_seconds`: how often output files are looked at."""
        self._poll_seconds = poll_seconds
        self._running: set[Shell] = set()
        self._pump: asyncio.Task[None] | None = None

    def start(
        self,
        key: str,
        *,
        directory: Path,
        script: str,
        environment: Mapping[str, str],
        workspace: Path,
        recorder: Recorder,
    ) -> Shell:
        """Start the step, or attach to the process that an earlier server started for it."""
        shell = Shell(key, directory, recorder)
        shell.prepare(script)
        shell.launch(script, environment, workspace)
        self._running.add(shell)
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._copy_all())
        return shell

    async def ended(self, shell: Shell) -> int:
        """Wait until the step's process is gone and all of its output is in the log; its exit status."""
        try:
            status = await shell.ended(self._poll_seconds)
            while shell.copy_output(final=True):  # noqa: ASYNC110  # turn by turn, until all is copied
                await asyncio.sleep(0)
        finally:
            self._running.discard(shell)
            shell.close()
        return status

    async def close(self) -> None:
        """Stop the timer."""
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)

    async def _copy_all(self) -> None:
        loop = asyncio.get_running_loop()
        while self._running:
            began = loop.time()
            more = False
            for shell in list(self._running):
                if shell in self._running:
                    more |= shell.copy_output()
            # With very many steps a round takes longer than the interval: never more than a third of the loop's time.
            took = loop.time() - began
            await asyncio.sleep(0 if more else max(self._poll_seconds, 2 * took))


def _interpreter(script: str) -> list[str]:
    """As the kernel reads a `#!` line; without one Jenkins traces: `sh -xe`."""
    if not script.startswith("#!"):
        return ["/bin/sh", "-xe"]
    return script[2:].split("\n", 1)[0].strip().split(None, 1) or ["/bin/sh"]


def _number(path: Path) -> int | None:
    """The number in a file that is written by one `echo`: whole once it ends with a line break."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    return int(text) if text.endswith("\n") else None


def _is_wrapper(pid: int, directory: Path) -> bool:
    """Whether `pid` is still this step's wrapper and not a later process with the same number."""
    try:
        return os.fsencode(str(directory)) in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return False
    listed = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return str(directory) in listed.stdout or shlex.quote(str(directory)) in listed.stdout


async def _until_gone(pid: int, poll_seconds: float, child: subprocess.Popen[bytes] | None) -> None:
    """Wait for the end of a process, ours or not; reaps it when it is `child`."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        fd = -1
    except (AttributeError, OSError):  # not Linux, or a sandbox without the call
        while (child.poll() is None) if child is not None else _exists(pid):  # noqa: ASYNC110  # nothing tells us
            await asyncio.sleep(poll_seconds)
        return
    if fd >= 0:
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()
        loop.add_reader(fd, gone.set)
        try:
            await gone.wait()
        finally:
            loop.remove_reader(fd)
            os.close(fd)
    if child is not None:
        child.wait()


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
