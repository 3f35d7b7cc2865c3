"""An agent for tests: runs a pipeline's shell steps in order as Jenkins would, with a PATH of chosen programs."""

import asyncio
import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jenkins_pipelines.models import Pipeline, Sh, Step, WithEnv
from tests.agent_api import BUILD_UUID, TOKEN

# All that an agent needs: sh, curl, tar, gzip, and what POSIX puts on every machine.
NEEDED = (
    "curl", "tar", "gzip", "cat", "chmod", "cp", "cut", "date", "env", "grep", "mkdir", "od", "rm", "sed", "sleep",
    "tail", "tee", "tr",
)  # fmt: skip
SHELLS = tuple(shell for shell in ("dash", "bash", "busybox") if shutil.which(shell))


@dataclass
class Run:
    """What a run left: its log, and the stage it failed in (None = success)."""

    log: str
    failed_in: str | None


@dataclass
class Agent:
    """`home` holds the workspace and the folder of programs; `shell` is what /bin/sh is on this agent."""

    home: Path
    shell: str
    url: str = "http://127.0.0.1:1"
    build_number: int = 1
    environment: dict[str, str] = field(default_factory=dict)

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
        """Put a program of the test's own on the agent's PATH."""
        path = self.programs / name
        path.unlink(missing_ok=True)
        path.write_text(script)
        path.chmod(0o755)

    async def run(self, pipeline: Pipeline) -> Run:
        """Stages until one fails, then the steps that always follow."""
        log: list[str] = []
        failed_in: str | None = None
        for stage in pipeline.stages:
            if not await self._steps(stage.steps, log):
                failed_in = stage.name
                break
        if not await self._steps(pipeline.always, log) and failed_in is None:
            failed_in = "post"
        return Run("".join(log), failed_in)

    async def _steps(self, steps: Sequence[Step], log: list[str]) -> bool:
        for sh, variables in shell_steps(steps):
            status, output = await self.script(sh.script, variables)
            log.append(output.decode("utf-8", "replace"))
            if status != 0:
                return False
        return True

    async def script(self, script: str, variables: dict[str, str] | None = None) -> tuple[int, bytes]:
        """One script as durable-task runs it: from a file, by the interpreter that its first line names."""
        assert script.startswith("#!/bin/sh -e\n")
        file = self.home / "script.sh"
        file.write_text(script)
        process = await asyncio.create_subprocess_exec(
            self.programs / "sh", "-e", file,
            cwd=self.workspace,
            env={**self._variables(), **(variables or {})},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        try:
            output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
        assert process.returncode is not None
        return process.returncode, output

    def _variables(self) -> dict[str, str]:
        return {
            "PATH": str(self.programs),
            "HOME": str(self.home),
            "BUILD_UUID": BUILD_UUID,
            "BUILD_NUMBER": str(self.build_number),
            "SHUTTLE_URL": self.url,
            "SHUTTLE_TOKEN": TOKEN,
            **self.environment,
        }


def shell_steps(steps: Sequence[Step], outer: dict[str, str] | None = None) -> Iterator[tuple[Sh, dict[str, str]]]:
    """The shell steps in order, each with the variables of the withEnv around it."""
    for step in steps:
        match step:
            case Sh():
                yield step, dict(outer or {})
            case WithEnv():
                yield from shell_steps(step.steps, {**(outer or {}), **step.variables})
            case _:
                raise AssertionError(f"this agent does not know {step.kind}")


def everything_under(folder: Path) -> list[str]:
    """Relative names of all that lies there."""
    return sorted(str(Path(root, name).relative_to(folder)) for root, _, names in os.walk(folder) for name in names)
