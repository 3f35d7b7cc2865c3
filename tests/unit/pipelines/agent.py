"""An agent for tests: runs a pipeline's shell step as Jenkins would, with a PATH of chosen programs."""

import asyncio
import contextlib
import os
import re
import shutil
import signal
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from jenkins_pipelines.models import Pipeline, Sh
from tests.support.agent_api import BUILD_UUID, TOKEN
from tests.support.processes import files_of_processes

# The programs that docs/agents.md requires of every agent, beside `sh`, and awk for Dockerfiles.
NEEDED = (
    "awk", "curl", "tar", "gzip", "cat", "chmod", "cut", "date", "dd", "env", "grep", "ls", "mkdir", "mkfifo", "od",
    "rm", "sed", "setsid", "sleep", "tail", "tr", "wc",
)  # fmt: skip

# Several test processes run at the same time: the texts that each of them searches for in /proc are its own.
_serial = count(1)
# The shells that these tests try as the agent's `sh`. To save time, `make test` leaves the others to `make scenarios`.
_INSTALLED = tuple(shell for shell in ("dash", "bash", "busybox") if shutil.which(shell))
WANTED_SHELLS = os.environ.get("TESTS_SHELLS", "dash").split()
SHELLS = tuple(shell for shell in _INSTALLED if shell in WANTED_SHELLS) or _INSTALLED


@dataclass
class Run:
    """The result of a run: the step's exit status and its output on Jenkins' console."""

    status: int
    console: str


class Step:
    """A running `sh` step."""

    def __init__(self, process: asyncio.subprocess.Process, cookie: str) -> None:
        self.process = process
        self.cookie = cookie

    async def ended(self) -> Run:
        output, _ = await self.process.communicate()
        assert self.process.returncode is not None
        return Run(self.process.returncode, output.decode("utf-8", "replace"))

    def stop_as_jenkins_does(self) -> None:
        """TERM to the step's shell and all its descendants, children first, then to all that have the step's cookie.

        Seen on a Jenkins of 2.568.1; it sends no KILL.
        """
        for pid in [*_descendants(self.process.pid), self.process.pid, *processes_with(self.cookie)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)


def _descendants(pid: int) -> list[int]:
    """The descendants of the process, the deepest first."""
    children: defaultdict[int, list[int]] = defaultdict(list)
    for stat in files_of_processes("stat"):
        with contextlib.suppress(OSError):
            children[int(stat.read_text().rpartition(")")[2].split()[1])].append(int(stat.parent.name))

    def below(parent: int) -> Iterator[int]:
        for child in children[parent]:
            yield from below(child)
            yield child

    return list(below(pid))


def processes_with(variable: str) -> list[int]:
    """The pids of the processes that have `NAME=value` in their environment."""
    return _with_text("environ", variable)


@dataclass
class Agent:
    """An agent. `home` has the workspace and the folder of programs; `shell` is the agent's /bin/sh."""

    home: Path
    shell: str
    url: str = "http://127.0.0.1:1"
    build_number: int = 1
    environment: dict[str, str] = field(default_factory=dict)
    # Time limits of the supervisor by the names of their variables, where its own would take minutes.
    limits: dict[str, int] = field(default_factory=dict)
    # Whether permissions of files restrict this agent even if the tests run as root.
    obeys_permissions: bool = False
    # With a limit, the agent's user is none that anybody else has, so only its own processes count. Needs root.
    process_limit: int = 0
    cookie: str = field(default_factory=lambda: f"durable-{os.getpid()}-{next(_serial)}")

    def __post_init__(self) -> None:
        self.workspace.mkdir(parents=True, exist_ok=True)
        self.programs.mkdir(exist_ok=True)
        self.give(*NEEDED)
        self._link("sh", self.shell)
        if self.shell == "busybox":  # then its other programs are busybox, too
            for name in set(NEEDED) - {"curl"}:
                self._link(name, "busybox")

    @property
    def workspace(self) -> Path:
        return self.home / "workspace"

    @property
    def programs(self) -> Path:
        return self.home / "programs"

    @property
    def script_file(self) -> Path:
        """The file in which Jenkins stores the step's script; the user's code can write to that file."""
        return self.home / "script.sh"

    def give(self, *names: str) -> None:
        """Put programs of this machine on the agent's PATH."""
        for name in names:
            self._link(name, name)

    def _link(self, name: str, target: str) -> None:
        found = shutil.which(target)
        assert found is not None, f"{target} is not installed here"
        (self.programs / name).unlink(missing_ok=True)
        (self.programs / name).symlink_to(found)

    def program(self, name: str, script: str) -> None:
        """Put a program written by the test on the agent's PATH."""
        path = self.programs / name
        path.unlink(missing_ok=True)
        path.write_text(script)
        path.chmod(0o755)

    async def run(self, pipeline: Pipeline) -> Run:
        """Run the pipeline's step to its end."""
        return await (await self.start(pipeline)).ended()

    async def start(self, pipeline: Pipeline) -> Step:
        """Start the pipeline's step."""
        return await self.start_script(only_step(pipeline).script)

    async def script(self, script: str) -> tuple[int, bytes]:
        """Run one script to its end; returns exit status and output."""
        process = (await self.start_script(script)).process
        output, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, output

    async def start_script(self, script: str) -> Step:
        """Start a script as durable-task does: from a file, with the interpreter in its first line."""
        first_line = script.partition("\n")[0]
        assert first_line.startswith("#!/bin/sh")
        for name, seconds in self.limits.items():
            script, found = re.subn(rf"\b{name}=[0-9]+", f"{name}={seconds}", script)
            assert found == 1, name
        self.script_file.write_text(script)
        without_powers = (
            (shutil.which("setpriv"), "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()
        )
        process = await asyncio.create_subprocess_exec(
            *(without_powers if self.obeys_permissions else ()),
            *self._as_user_with_limit(),
            self.programs / "sh", *first_line.split()[1:], self.script_file,
            cwd=self.workspace,
            env=self._variables(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        return Step(process, f"JENKINS_SERVER_COOKIE={self.cookie}")

    def _as_user_with_limit(self) -> tuple[str, ...]:
        if not self.process_limit:
            return ()
        user = 1_000_000_000 + os.getpid() % 1_000_000 * 1000 + next(_serial)
        for path in (self.home, self.workspace):
            os.chown(path, user, user)
        self.script_file.chmod(0o644)
        prlimit, setpriv = shutil.which("prlimit"), shutil.which("setpriv")
        assert prlimit is not None
        assert setpriv is not None
        as_user = (setpriv, f"--reuid={user}", f"--regid={user}", "--clear-groups")
        return prlimit, f"--nproc={self.process_limit}", *as_user

    def processes(self) -> list[int]:
        """The pids of this agent's processes, found by a variable that only they have."""
        return processes_with(f"HOME={self.home}")

    def clean_up(self) -> None:
        """End what a failed test left running."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _variables(self) -> dict[str, str]:
        return {
            "PATH": str(self.programs),
            "HOME": str(self.home),
            "BUILD_UUID": BUILD_UUID,
            "BUILD_NUMBER": str(self.build_number),
            "SHUTTLE_URL": self.url,
            "SHUTTLE_TOKEN": TOKEN,
            "JENKINS_SERVER_COOKIE": self.cookie,
            **self.environment,
        }


def only_step(pipeline: Pipeline) -> Sh:
    """The pipeline's only step."""
    ((step,),) = (stage.steps for stage in pipeline.stages)
    assert isinstance(step, Sh)
    return step


def long_time() -> str:
    """Ten minutes for `sleep`, in a spelling that no other test uses."""
    return f"600.{os.getpid()}{next(_serial):04}"


def is_running(argument: str) -> bool:
    """Whether a process has this text in its arguments; pids cannot be used with pid namespaces."""
    return bool(_with_text("cmdline", argument))


def end_processes(argument: str) -> None:
    """Kill the processes that have this text in their arguments."""
    for pid in _with_text("cmdline", argument):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _with_text(name: str, text: str) -> list[int]:
    """The pids of the processes whose file of this name has the text between two NULs."""
    found = []
    for file in files_of_processes(name):
        with contextlib.suppress(OSError):
            if text.encode() in file.read_bytes().split(b"\0"):
                found.append(int(file.parent.name))
    return found


def everything_under(folder: Path) -> list[str]:
    """The relative names of everything in the folder."""
    return sorted(str(Path(root, name).relative_to(folder)) for root, _, names in os.walk(folder) for name in names)
