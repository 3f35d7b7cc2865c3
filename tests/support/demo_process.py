"""Runs `shuttle demo` as a process, and reads its output line by line."""

import asyncio
import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

_ROOT = Path(__file__).parents[2]


@dataclass
class Running:
    """A `shuttle …` process; its lines as they come."""

    process: asyncio.subprocess.Process
    lines: list[str] = field(default_factory=list)

    async def until(self, pattern: str) -> re.Match[str]:
        """Read on until a line matches."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(line.decode().rstrip("\n"))
            if found := re.search(pattern, self.lines[-1]):
                return found
        raise AssertionError(f"no line matches {pattern}:\n" + "\n".join(self.lines))

    async def ended(self) -> int:
        """Read to the end; returns the exit code."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(line.decode().rstrip("\n"))
        return await self.process.wait()

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


async def run_shuttle(*arguments: str, cwd: Path, **environment: str) -> Running:
    """Start `shuttle` with these arguments in the directory `cwd`."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "shuttle", *arguments),
        cwd=cwd,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")]),
            **environment,
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    return Running(process)


def check_ports_are_closed(demo: Running, count: int) -> None:
    """Check that nothing listens any more at the `count` addresses that the demo has shown."""
    ports = {f"{urlsplit(url).port:04X}" for url in re.findall(r"http://127\.0\.0\.1:\d+", demo.text)}
    assert len(ports) == count
    listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    assert not ports & {fields[1].partition(":")[2] for fields in listening if fields[3] == "0A"}
