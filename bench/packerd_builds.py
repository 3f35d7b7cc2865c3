"""Measures builds of packer over REST: 200 requests at once, and the duration of a build that does nothing.

The 200 requests have imitated agents; the null builds have an emulated Jenkins and the packer of this machine.
"""

import asyncio
import shutil
import statistics
import subprocess
import time
from contextlib import nullcontext
from pathlib import Path

import aiohttp

from bench.product import Shuttle, load_average, running_shuttle
from bench.supervisor import Supervisor

QUEUED = 200
PARALLEL = 5
WORK_SECONDS = 0.1
NULL_BUILDS = 11
NULL_TEMPLATE = '{"builders": [{"type": "null", "communicator": "none"}]}'


async def run_queue(folder: Path) -> None:
    """Print how long QUEUED requests take, each for a branch of its own, and how many ran at the same time."""
    from tests.support.git_server import git, git_server

    settings = {"MAXIMUM_PARALLEL_BUILDS": str(PARALLEL)}
    async with git_server(folder) as server, running_shuttle(folder, **settings) as shuttle:
        work = server.repository("demo")
        commit = work.commit({"packer.json": NULL_TEMPLATE})
        refs = "".join(f"create refs/heads/b{number} {commit}\n" for number in range(QUEUED))
        git(work.served, "update-ref", "--stdin", text=refs)
        began = time.perf_counter()
        ids = [await _ask(shuttle.session, shuttle.url, f"{server.url}/demo.git", f"b{n}") for n in range(QUEUED)]
        accepted = time.perf_counter()
        at_once = _AtOnce()
        await asyncio.gather(*(_imitate(shuttle, request_id, at_once) for request_id in ids))
        statuses = [(await _run(shuttle.session, shuttle.url, request_id))["status"] for request_id in ids]
    if statuses != ["complete"] * QUEUED:
        raise SystemExit(f"unexpected: {statuses}")
    over = time.perf_counter()
    print(
        f"{QUEUED} requests, accepted in {accepted - began:.1f} s: all complete after {over - began:.1f} s, at most"
        f" {at_once.most} at a time (goal {PARALLEL})   {load_average()}"
    )


class _AtOnce:
    """How many builds run, and how many have at most."""

    def __init__(self) -> None:
        self.running = self.most = 0

    def __enter__(self) -> None:
        self.running += 1
        self.most = max(self.most, self.running)

    def __exit__(self, *_: object) -> None:
        self.running -= 1


async def _ask(session: aiohttp.ClientSession, url: str, giturl: str, branch: str) -> str:
    """Ask for a build; returns the id of the request."""
    async with session.post(f"{url}/-/packerd/build", json={"giturl": giturl, "branch": branch}) as response:
        if response.status != 202:
            raise SystemExit(f"unexpected: {response.status} {await response.text()}")
        return str((await response.json())[0]["href"].rpartition("/")[2])


async def _run(session: aiohttp.ClientSession, url: str, request_id: str) -> dict[str, str]:
    """The first run, once it is over."""
    while True:
        async with session.get(f"{url}/-/packerd/build/responses/{request_id}/0") as response:
            found: dict[str, str] = await response.json()
        if found["status"] in {"complete", "failed"}:
            return found
        await asyncio.sleep(0.01)


async def _imitate(shuttle: Shuttle, request_id: str, at_once: _AtOnce) -> None:
    """Be the agent of the build: claim it once it is triggered, work, push a line, and end it."""
    form = await shuttle.jenkins.form_of(request_id)
    supervisor = Supervisor(shuttle.session, shuttle.url, form)
    with at_once:
        await supervisor.begin()
        await asyncio.sleep(WORK_SECONDS)
    await supervisor.push_all(b"built\n", ended=True)
    shuttle.jenkins.over.add(form["JOB"])


async def build_null(folder: Path) -> None:
    """Print the time of builds of a null builder, from the POST to `complete`, and that of packer alone."""
    from tests.support.agent_programs import agent_programs
    from tests.support.git_server import git_server
    from tests.support.packer_program import packer_program
    from tests.support.product import running_product

    packer = shutil.which("packer")
    own = nullcontext() if packer else agent_programs(folder, packer=packer_program())
    (folder / "git").mkdir()
    took, alone = [], []
    with own:
        async with git_server(folder / "git") as git, running_product(folder) as product:
            work = git.repository("demo")
            work.commit({"packer.json": NULL_TEMPLATE})
            for _ in range(NULL_BUILDS):
                began = time.perf_counter()
                request_id = await _ask(product.session, product.url, f"{git.url}/demo.git", "main")
                over = await _run(product.session, product.url, request_id)
                took.append(time.perf_counter() - began)
                if over["status"] != "complete":
                    raise SystemExit(f"unexpected: {over}")
                began = time.perf_counter()
                await asyncio.to_thread(_run_packer, work.folder)
                alone.append(time.perf_counter() - began)
    which = "packer" if packer else "a stand-in for packer"
    print(  # the first build makes the job
        f"null build from POST to complete: median {statistics.median(took[1:]):.2f} s (goal 2.0), of which {which}:"
        f" {statistics.median(alone[1:]):.2f} s   {load_average()}"
    )


def _run_packer(folder: Path) -> None:
    """The commands of a build."""
    for command in ("inspect", "validate", "build"):
        subprocess.run(("packer", command, "packer.json"), cwd=folder, check=True, stdout=subprocess.DEVNULL)
