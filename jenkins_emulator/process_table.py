"""Search for processes by their environment and their ancestors, as in Jenkins' ProcessTree.

Only on Linux: without /proc no process is found.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """One process: its parent, and the environment with which it was started."""

    pid: int
    parent: int
    environment: bytes

    def has(self, variable: bytes) -> bool:
        """Whether `NAME=value` is in its environment."""
        return variable in self.environment and variable in self.environment.split(b"\0")


class ProcessTable:
    """Reads /proc in a thread; calls during a read share the next read."""

    def __init__(self) -> None:
        """Make it without reading anything yet."""
        self._next: asyncio.Task[list[Process]] | None = None
        self._reading = asyncio.Lock()

    async def processes(self) -> list[Process]:
        """All readable processes, read after this call."""
        if self._next is None:
            self._next = asyncio.create_task(self._read())
        return await asyncio.shield(self._next)

    async def _read(self) -> list[Process]:
        async with self._reading:
            self._next = None
            return await asyncio.to_thread(_processes)

    async def with_variable(self, variable: str) -> list[int]:
        """The pids of the processes that have `NAME=value`."""
        wanted = variable.encode()
        return [process.pid for process in await self.processes() if process.has(wanted)]

    async def below(self, variable: str) -> list[int]:
        """The pids of the processes that have `NAME=value` and of their descendants, children before parents."""
        wanted = variable.encode()
        processes = await self.processes()
        children: dict[int, list[int]] = {}
        for process in processes:
            children.setdefault(process.parent, []).append(process.pid)
        ordered: dict[int, None] = {}
        for process in processes:
            if process.has(wanted):
                ordered.update(dict.fromkeys(_children_first(process.pid, children)))
        return list(ordered)


def send(pids: list[int], number: signal.Signals) -> None:
    """Send a signal to each process; ended ones are ignored."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _children_first(pid: int, children: dict[int, list[int]]) -> Iterator[int]:
    for child in children.get(pid, ()):
        yield from _children_first(child, children)
    yield pid


def _processes() -> list[Process]:
    return [process for name in _numbers() if (process := _process(name)) is not None]


def _numbers() -> list[str]:
    try:
        return [entry.name for entry in _PROC.iterdir() if entry.name.isdecimal()]
    except FileNotFoundError:
        return []


def _process(name: str) -> Process | None:
    try:
        environment = (_PROC / name / "environ").read_bytes()
        stat = (_PROC / name / "stat").read_bytes()
    except OSError:  # ended, or of another user
        return None
    # State and parent follow the command in parentheses, which can contain any character.
    state, parent = stat.rpartition(b")")[2].split()[:2]
    return None if state in (b"Z", b"X") else Process(int(name), int(parent), environment)
