"""The demo's processes: started with a clean environment, ended by their id, never left behind."""

import asyncio
import os
import random
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path

from shuttle.cli.failures import CommandError

_READY_WITHIN_SECONDS = 30
_END_WITHIN_SECONDS = 10
# Below the ports that the kernel gives to outgoing connections and to servers on port 0: none of these can take a port
# before the demo's server listens on it.
_PORTS = range(20_000, 32_000)


class Child:
    """One `shuttle …` process; its output is written to the file `output`."""

    def __init__(self, name: str, arguments: list[str], environment: Mapping[str, str], output: Path) -> None:
        self.name = name
        self.output = output
        self._arguments = arguments
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None
        self._killed = False

    @property
    def pid(self) -> int:
        """Its process id; 0 if it was never started."""
        return self._process.pid if self._process is not None else 0

    async def start(self, is_ready: Callable[[], Awaitable[bool]]) -> None:
        """Start it and wait until `is_ready`; raises CommandError with its last line if it ends or takes too long."""
        with self.output.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "shuttle", *self._arguments),
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C must reach this process only, which then ends the others in order.
                start_new_session=True,
            )
        try:
            async with asyncio.timeout(_READY_WITHIN_SECONDS):
                while not await is_ready():
                    if self._process.returncode is not None:
                        raise self.ended()
                    await asyncio.sleep(0.05)  # a server does not report when it begins to listen
        except TimeoutError:
            raise CommandError(
                f"{self.name} was not ready within {_READY_WITHIN_SECONDS} s: {self._last_line()}"
            ) from None

    async def until_unexpected_end(self) -> None:
        """Wait until it has ended by itself; never returns if `kill` ended it."""
        if self._process is not None:
            await self._process.wait()
        if self._killed:
            await asyncio.get_running_loop().create_future()

    async def kill(self) -> None:
        """End it by SIGKILL."""
        if self._process is not None:
            self._killed = True
            self._process.kill()
            await self._process.wait()

    async def stop(self) -> None:
        """Terminate it, and kill it if it does not end; idempotent, also without `start`."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(_END_WITHIN_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    def ended(self) -> CommandError:
        """The error for a process that has ended although it should be running."""
        code = self._process.returncode if self._process else None
        return CommandError(f"{self.name} ended with exit code {code}: {self._last_line()}")

    def _last_line(self) -> str:
        lines = self.output.read_text(errors="replace").strip().splitlines()
        return f"{lines[-1]} (full output: {self.output})" if lines else "it printed nothing"


def clean_environment(setting_names: frozenset[str]) -> dict[str, str]:
    """This process's environment without settings of a shuttle, and without a proxy for loopback addresses."""
    ours = {name: value for name, value in os.environ.items() if name not in setting_names}
    return {**ours, "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}


def free_port() -> int:
    """A port of 127.0.0.1 that is not in use now; a random one, so that two demos do not choose the same."""
    for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise CommandError("No port of 127.0.0.1 is free.")
