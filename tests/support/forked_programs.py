"""Starts `shuttle …` programs as forks of a process that has already imported their modules.

The imports are 1.3 of the 1.9 s of CPU time that `shuttle serve` takes to start, and the scenarios start it hundreds of
times. What the program does from `main()` on is the same. The tests of the demo start new interpreters.
"""

import asyncio
import atexit
import functools
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

# What `shuttle serve` and `shuttle jenkins` import, most of it only after `main()` has begun.
_MODULES = ("shuttle.cli", "shuttle.serve", "shuttle.store.postgres_migrate", "jenkins_emulator", "alembic.command")


class ForkedProgram:
    """A running program, with what tests use of `asyncio.subprocess.Process`."""

    def __init__(self, pid: int, exit_code: asyncio.StreamReader, connection: asyncio.StreamWriter) -> None:
        self.pid = pid
        self._connection = connection
        self._ended = asyncio.ensure_future(self._until_ended(exit_code))

    async def _until_ended(self, exit_code: asyncio.StreamReader) -> int:
        line = await exit_code.readline()
        self._connection.close()
        return int(line)

    @property
    def returncode(self) -> int | None:
        """The exit code, or minus the signal's number; None while it runs."""
        return self._ended.result() if self._ended.done() else None

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    async def wait(self) -> int:
        return await asyncio.shield(self._ended)


async def start_forked(arguments: Sequence[str], environment: Mapping[str, str], output: Path) -> ForkedProgram:
    """Start `shuttle` with these arguments; standard output and error are appended to `output`."""
    incoming, connection = await asyncio.open_unix_connection(_server_address())
    request = {"arguments": list(arguments), "environment": dict(environment), "output": str(output.absolute())}
    connection.write(json.dumps({**request, "directory": str(Path.cwd())}).encode() + b"\n")
    return ForkedProgram(int(await incoming.readline()), incoming, connection)


@functools.cache
def _server_address() -> str:
    """Start the server on the first use in this process; it ends with this process."""
    folder = tempfile.TemporaryDirectory(prefix="shuttle-tests-forks-")
    address = f"{folder.name}/socket"
    server = subprocess.Popen(
        [sys.executable, "-m", __name__, address],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )

    def end() -> None:
        server.communicate()
        folder.cleanup()

    atexit.register(end)
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n", "the server of forked programs did not start"
    return address


def _serve(address: str) -> list[str]:
    """Fork a program for each connection, until standard input ends; returns its arguments, in the program alone."""
    for module in _MODULES:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the processes that wait for the programs
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen(64)
        print("ready", flush=True)
        while True:
            readable, _, _ = select.select([listening, sys.stdin], [], [])
            if listening not in readable:
                sys.exit()
            connection, _ = listening.accept()
            with connection:
                if os.fork() == 0:
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    return _fork_program(connection)


def _fork_program(connection: socket.socket) -> list[str]:
    """In the program, take over its environment and return its arguments; the other process waits for its exit."""
    with connection.makefile("rb") as incoming:
        request = json.loads(incoming.readline())
    if pid := os.fork():
        connection.sendall(f"{pid}\n".encode())
        _, status = os.waitpid(pid, 0)
        with suppress(BrokenPipeError):
            connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
        os._exit(0)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["directory"])
    _replace(0, os.open(os.devnull, os.O_RDONLY))
    output = os.open(request["output"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(output, 1)
    _replace(2, output)
    arguments: list[str] = request["arguments"]
    return arguments


def _replace(descriptor: int, opened: int) -> None:
    os.dup2(opened, descriptor)
    os.close(opened)


if __name__ == "__main__":
    sys.argv = ["shuttle", *_serve(sys.argv[1])]
    importlib.import_module("shuttle.cli").main()
