"""Runs the shuttle as a process with a bench Jenkins, and measures CPU time and memory of processes."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from bench.jenkins import BenchJenkins
from bench.supervisor import Supervisor
from tests.support.free_port import free_port
from tests.support.product import FAST, Process, data_url
from tests.support.serving import serving

# Before a request is repeated that was answered 503, because the machine was fully used.
_PAUSE_SECONDS = 0.5
_SOURCE = data_url({"build.sh": ""})


class Shuttle(NamedTuple):
    """A running shuttle, its Jenkins, and a session for its callers and agents."""

    url: str
    folder: Path
    process: Process
    jenkins: BenchJenkins
    session: aiohttp.ClientSession

    async def submit(self, app_id: str, **fields: Any) -> str:
        """Request build `1` of the app, and repeat that while the answer is 503; returns the build's uuid."""
        body = {"source": {"url": _SOURCE}, "pipeline": "script", **fields}
        while True:
            async with self.session.post(f"{self.url}/{app_id}/1", json=body) as response:
                if response.status == 200:
                    break
                if response.status != 503:
                    raise SystemExit(f"unexpected: {response.status} {await response.text()}")
            await asyncio.sleep(_PAUSE_SECONDS)
        return str((await self.build(app_id))["build_uuid"])

    async def running(self, app_id: str, **fields: Any) -> Supervisor:
        """Request build `1` of the app, and return its supervisor after `begin`."""
        form = await self.jenkins.form_of(await self.submit(app_id, **fields))
        supervisor = Supervisor(self.session, self.url, form)
        await supervisor.begin()
        return supervisor

    async def build(self, app_id: str) -> dict[str, Any]:
        """Build `1` of the app, as GET returns it; asks again while the answer is 503."""
        while True:
            async with self.session.get(f"{self.url}/{app_id}/1") as response:
                if response.status != 503:
                    found: dict[str, Any] = await response.json()
                    return found
            await asyncio.sleep(_PAUSE_SECONDS)


@asynccontextmanager
async def running_shuttle(folder: Path, **settings: str) -> AsyncIterator[Shuttle]:
    """Run `shuttle serve` in `folder`; ends it by its pid."""
    jenkins, port = BenchJenkins(), free_port()
    url = f"http://127.0.0.1:{port}"
    async with (
        serving(jenkins.app()) as jenkins_url,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=100)) as session,
    ):
        environment = {
            **FAST,
            "PORT": str(port),
            "SHUTTLE_DATA_DIR": str(folder / "data"),
            "JENKINS_URL": jenkins_url.replace("://", "://u:t@"),
            **settings,
        }
        process = Process(["serve"], environment, f"{url}/healthz", folder / "out")
        await process.start()
        try:
            yield Shuttle(url, folder, process, jenkins, session)
        finally:
            await process.kill()


def cpu_seconds(pid: int, *, with_children: bool = False) -> float:
    """The CPU time that the process has used, optionally with its waited-for children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11 : 15 if with_children else 13])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    """The resident memory of the process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def peak_mib(pid: int) -> float:
    """The peak of the resident memory."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def load_average() -> str:
    """The machine's load average of the last minute, printed beside the figures."""
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
