"""Measures the supervisor's CPU time and calls: with a silent build, with 20 lines/s, and with 200 MB of output.

The emulated Jenkins renders and runs the real script. CPU time is that of all processes in the build's workspace,
except the user's; the calls are counted by a proxy before the shuttle.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bench.log_throughput import Receiver
from bench.product import cpu_seconds, load_average
from tests.support.product import Product, running_product
from tests.support.serving import serving
from tests.support.tcp_proxy import TcpProxy

SILENT_SECONDS = 90
PRINTING_SECONDS = 20
LARGE_BYTES = 200_000_000
# The measurement begins after this time, because at first the supervisor looks at a silent build more often.
_SETTLING_SECONDS = 25
_LOOK_SECONDS = 0.05
# A variable that only the user's processes have in their environment.
_USER_PROCESS_MARKER = b"SHUTTLE_RUN="


class Agent:
    """The processes of the supervisor of the one build below `workspace`."""

    def __init__(self, workspace: Path, jenkins_pid: int) -> None:
        self._workspace = workspace.resolve()
        self._jenkins_pid = jenkins_pid
        self._used: dict[int, float] = {}

    @property
    def cpu_seconds(self) -> float:
        """The CPU time of all of them until the last sample."""
        return sum(self._used.values())

    def look(self) -> None:
        """Take a sample of the CPU time of each process.

        The step's shell waits for the processes that it starts, so its time includes that of its children. The runner,
        which is not a child of Jenkins, waits for the user's process, so only the own time of each process is counted.
        """
        found = {int(path.name): path for path in Path("/proc").glob("[0-9]*")}
        for pid, path in found.items():
            try:
                at_work = (path / "cwd").readlink().is_relative_to(self._workspace)
                if at_work and not any(
                    word.startswith(_USER_PROCESS_MARKER) for word in (path / "environ").read_bytes().split(b"\0")
                ):
                    self._used[pid] = cpu_seconds(pid, with_children=self._is_of_jenkins(pid))
            except (OSError, IndexError):  # it has just ended; its parent's time includes it
                pass

    def _is_of_jenkins(self, pid: int) -> bool:
        while pid > 1 and pid != self._jenkins_pid:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        return pid == self._jenkins_pid

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Take samples continuously."""

        async def keep_looking() -> None:
            while True:
                self.look()
                await asyncio.sleep(_LOOK_SECONDS)

        looking = asyncio.create_task(keep_looking())
        try:
            yield
        finally:
            looking.cancel()


async def over(product: Product, agent: Agent, proxy: TcpProxy, script: str, seconds: float) -> tuple[float, int]:
    """The supervisor's CPU (in cores) and its calls during `seconds` of a build."""
    app_id = f"app-{time.monotonic_ns()}"
    await product.submit(app_id, "1", script)
    await product.until_state(app_id, "1", "running")
    await asyncio.sleep(_SETTLING_SECONDS)
    agent.look()
    before, calls = agent.cpu_seconds, proxy.passed
    began_at = time.perf_counter()
    await asyncio.sleep(seconds)
    agent.look()
    cores = (agent.cpu_seconds - before) / (time.perf_counter() - began_at)
    made = proxy.passed - calls
    async with product.session.delete(f"{product.url}/{app_id}/1"):
        await product.until_state(app_id, "1", "stopped", seconds=60)
    return cores, made


async def large(product: Product, agent: Agent, receiver: Receiver, receiver_url: str) -> None:
    """Print the figures for 200 MB of output."""
    line = "x" * 79
    script = f"#!/bin/sh\nyes {line} | head -c {LARGE_BYTES}\n"
    agent.look()
    before = agent.cpu_seconds
    async with agent.watched():
        await product.submit("large", "1", script, webhooks={"logs": f"{receiver_url}/large"})
        build = await product.until_state("large", "1", "running")
        began_at = time.perf_counter()
        await receiver.ended("large")
        await product.archived_log(build["build_uuid"], seconds=300)
        seconds = time.perf_counter() - began_at
    log = (await product.log("large", "1")).count(line.encode())
    whole = log == LARGE_BYTES // 80
    cores = (agent.cpu_seconds - before) / seconds
    print(
        f"{LARGE_BYTES / 1e6:.0f} MB, claim → sink and archive: {LARGE_BYTES / 1e6 / seconds:.0f} MB/s (goal ≥ 40)",
        end="   ",
    )
    print(f"{'all lines' if whole else f'ONLY {log} LINES'}   {cores:.2f} cores (goal ≤ 1)   {load_average()}")


async def run() -> None:
    """Print the figures."""
    receiver, proxy = Receiver(), TcpProxy(0, 0, 1)
    await proxy.listen()
    with tempfile.TemporaryDirectory() as folder:
        product_folder = Path(folder)
        settings: dict[str, Any] = {"SHUTTLE_AGENT_SILENCE_SECONDS": "60", "BUILD_SHUTTLE_HOST": proxy.url}
        async with serving(receiver.app()) as receiver_url:
            async with running_product(product_folder, **settings) as product:
                proxy.target_port = int(product.url.rpartition(":")[2])
                agent = Agent(product_folder / "jenkins", product.jenkins.pid)
                silent = "#!/bin/sh\nexec sleep 600\n"
                cores, calls = await over(product, agent, proxy, silent, SILENT_SECONDS)
                print(f"a silent build: {cores * 100:.2f} % of a core (goal ≤ 1)", end="   ")
                print(
                    f"{calls} calls in {SILENT_SECONDS} s (goal ≤ {SILENT_SECONDS // 30})   {load_average()}",
                    flush=True,
                )
                printing = "#!/bin/sh\nwhile sleep 0.05; do echo a line of a build; done\n"
                cores, calls = await over(product, agent, proxy, printing, PRINTING_SECONDS)
                print(f"a line every 50 ms: {cores * 100:.1f} % of a core", end="   ")
                print(f"{calls / PRINTING_SECONDS:.1f} calls/s   {load_average()}", flush=True)
            # The proxy is in Python and would cost more than all else, so the agent calls the shuttle directly here.
            del settings["BUILD_SHUTTLE_HOST"]
            async with running_product(product_folder, **settings) as product:
                agent = Agent(product_folder / "jenkins", product.jenkins.pid)
                await large(product, agent, receiver, receiver_url)
    await proxy.refuse()


def main() -> int:
    """Print the figures."""
    asyncio.run(run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
