"""The product as a user runs it: shuttle and Jenkins are processes that tests may kill, receivers are in the test."""

import asyncio
import base64
import gzip
import io
import os
import signal
import sys
import tarfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from tests.support.balancer import balancer
from tests.support.forked_programs import ForkedProgram, start_forked
from tests.support.free_port import free_port
from tests.support.on_postgres import OnPostgres, on_postgres
from tests.support.serving import serving

USER, TOKEN = "shuttle", "api-token-of-the-tests"
# Short times, so that a fault costs milliseconds; no rule depends on the values.
# Each poll costs the service, its database and the test a few milliseconds of CPU time.
_POLL_SECONDS = 0.05
FAST = {
    "SHUTTLE_TRIGGER_SETTLE_SECONDS": "0.6",
    "SHUTTLE_STOP_GRACE_SECONDS": "1",
    "SHUTTLE_AGENT_SILENCE_SECONDS": "3",
    "SHUTTLE_SHUTDOWN_SECONDS": "2",
    "SHUTTLE_DRAIN_SECONDS": "1",
    "SHUTTLE_HEARTBEAT_SECONDS": "0.4",
    "SHUTTLE_LEASE_SECONDS": "2",
    "SHUTTLE_WEBHOOK_SCHEDULE_SECONDS": "0,0.05,0.1,0.2,0.4,0.8,1.6,3.2,6.4",
}


def archive(files: Mapping[str, str], *, executable: bool = True) -> bytes:
    """A tar.gz of these files, executable by default."""
    packed = io.BytesIO()
    # Without the current time, so that equal files always give an equal source.
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            entry.mode = 0o755 if executable else 0o644
            tar.addfile(entry, io.BytesIO(text.encode()))
    return packed.getvalue()


def data_url(files: Mapping[str, str]) -> str:
    """The archive as a data: URL."""
    return "data:application/gzip;base64," + base64.b64encode(archive(files)).decode()


class Process:
    """A `shuttle …` program that is started, killed and started again, on the same port and folder."""

    def __init__(self, arguments: list[str], environment: Mapping[str, str], probe_url: str, log: Path) -> None:
        self._arguments = arguments
        self._environment = environment
        self._probe_url = probe_url
        self._log = log
        self._process: asyncio.subprocess.Process | ForkedProgram | None = None

    async def start(self) -> None:
        """Start it and wait until it answers."""
        if "PYTHONPATH" in self._environment:  # it has an effect on a new interpreter only
            self._process = await self._start_interpreter()
        else:
            self._process = await start_forked(self._arguments, self.environment, self._log)
        async with aiohttp.ClientSession() as session:
            while not await self._answers(session):
                if self._process.returncode is not None:
                    raise AssertionError(f"the program exited with {self._process.returncode}:\n{self.output()}")
                await asyncio.sleep(0.03)

    async def _start_interpreter(self) -> asyncio.subprocess.Process:
        with self._log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "shuttle", *self._arguments),
                env=self.environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def _answers(self, session: aiohttp.ClientSession) -> bool:
        try:
            async with session.get(self._probe_url) as response:
                return response.status < 500
        except aiohttp.ClientError:
            return False

    async def until_logged(self, text: str, seconds: float = 30) -> None:
        """Wait until the program has written a line with this text."""
        tail = await asyncio.create_subprocess_exec(
            *("tail", "--lines=+1", "--follow", str(self._log)), stdout=asyncio.subprocess.PIPE, limit=2**20
        )
        assert tail.stdout is not None
        try:
            async with asyncio.timeout(seconds):
                while text.encode() not in await tail.stdout.readline():
                    pass
        finally:
            tail.kill()
            await tail.communicate()

    def output(self) -> str:
        """Its output so far."""
        return self._log.read_text(errors="replace")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment of the program."""
        return {**os.environ, **self._environment}

    def configure(self, settings: Mapping[str, str]) -> None:
        """Change settings for the next start."""
        self._environment = {**self._environment, **settings}

    async def kill(self, how: signal.Signals = signal.SIGKILL) -> int:
        """End it by a signal; returns its exit code, 0 if it does not run."""
        if self._process is None or self._process.returncode is not None:
            return 0
        self._process.send_signal(how)
        return await self._process.wait()

    async def restart(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End it and start it again."""
        await self.kill(how)
        await self.start()


async def _until_broken(request: web.Request) -> AsyncIterator[bytes]:
    """The chunks of the body, until its end or until the sender is killed."""
    with suppress(ConnectionResetError):
        async for chunk in request.content.iter_any():
            yield chunk


@dataclass
class Receiver:
    """A receiver of statuses and logs in the test's own process."""

    url: str = ""
    statuses: list[dict[str, Any]] = field(default_factory=list)
    webhook_ids: list[str] = field(default_factory=list)
    log: bytearray = field(default_factory=bytearray)
    log_ended: int = 0
    calls: int = 0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    problem: str = ""

    async def on_status(self, request: web.Request) -> web.Response:
        self.calls += 1
        body = await request.json()
        async with self.changed:
            self.webhook_ids.append(request.headers["webhook-id"])
            self.statuses.append(body)
            self.changed.notify_all()
        return web.Response()

    async def on_log(self, request: web.Request) -> web.Response:
        self.calls += 1
        offset = int(request.headers["Shuttle-Log-Offset"])
        if offset > len(self.log):
            return await self._refuse(f"bytes {len(self.log)} to {offset} are missing")
        async for chunk in _until_broken(request):
            async with self.changed:
                known = self.log[offset : offset + len(chunk)]
                if not chunk.startswith(bytes(known)):
                    self.problem = f"bytes from {offset} were {bytes(known[:200])!r} and are {chunk[:200]!r} now"
                self.log[offset : offset + len(chunk)] = chunk
                offset += len(chunk)
                self.changed.notify_all()
        if not request.content.is_eof():
            return web.Response(status=400)  # nobody gets it: the sender has disconnected
        async with self.changed:
            self.log_ended += 1
            self.changed.notify_all()
        return web.Response(headers={"Shuttle-Log-Offset": str(offset)})

    async def _refuse(self, problem: str) -> web.Response:
        async with self.changed:
            self.problem = problem
            self.changed.notify_all()
        return web.Response(status=500)

    async def until(self, condition: Any, seconds: float = 30) -> None:
        """Wait until `condition()` holds, or until something has arrived that contradicts what came before."""
        async with asyncio.timeout(seconds), self.changed:
            await self.changed.wait_for(lambda: self.problem or condition())
        assert not self.problem, self.problem

    def words(self) -> list[str]:
        """The status words in the order of arrival, without duplicates (by webhook-id)."""
        seen: dict[str, str] = {}
        for webhook_id, status in zip(self.webhook_ids, self.statuses, strict=True):
            seen.setdefault(webhook_id, status["status"])
        return list(seen.values())

    @property
    def final(self) -> dict[str, Any] | None:
        """The final status; None until it arrives."""
        finals = [status for status in self.statuses if status["status"] in {"succeeded", "failed", "timedout"}]
        return finals[0] if finals else None


@dataclass
class Product:
    """Shuttle and Jenkins, and methods to use them."""

    folder: Path
    url: str
    shuttle: Process
    jenkins: Process
    session: aiohttp.ClientSession
    receivers: dict[str, Receiver]
    receivers_url: str
    jenkins_port: int
    proxy: Any = None
    postgres: OnPostgres | None = None
    replicas: list[Process] = field(default_factory=list)
    ports: Sequence[int] = ()
    balancer: Any = None

    def receiver(self, name: str = "r") -> Receiver:
        """A new receiver; its URLs are `<url>/status` and `<url>/log`."""
        made = Receiver(url=f"{self.receivers_url}/{name}")
        self.receivers[name] = made
        return made

    def at(self, index: int) -> "Product":
        """The same product, whose URL is that of one replica."""
        return replace(self, url=f"http://127.0.0.1:{self.ports[index]}")

    async def submit(
        self, app_id: str, build_id: str, script: str, receiver: Receiver | None = None, *, asks: int = 1, **fields: Any
    ) -> None:
        """Request a `script` build of this build.sh; after a 503 or a broken connection again, `asks` times in all."""
        body: dict[str, Any] = {"source": {"url": data_url({"build.sh": script})}, "pipeline": "script", **fields}
        if receiver is not None:
            body["webhooks"] = {"status": f"{receiver.url}/status", "logs": f"{receiver.url}/log"}
        for left in reversed(range(asks)):
            try:
                async with self.session.post(f"{self.url}/{app_id}/{build_id}", json=body) as response:
                    if response.status == 503 and left:
                        continue
                    assert response.status == 200, await response.text()
                    return
            except aiohttp.ClientConnectionError:
                if not left:
                    raise

    async def build(self, app_id: str, build_id: str) -> dict[str, Any]:
        """The build's record."""
        async with self.session.get(f"{self.url}/{app_id}/{build_id}") as response:
            assert response.status == 200, await response.text()
            found: dict[str, Any] = await response.json()
            return found

    async def log(self, app_id: str, build_id: str) -> bytes:
        """The log as it is now."""
        async with self.session.get(f"{self.url}/{app_id}/{build_id}/logs") as response:
            return await response.read()

    async def archived_log(self, build_uuid: str, seconds: float = 30) -> bytes:
        """The archived log, once it is in the object store; the service does not report that."""
        async with asyncio.timeout(seconds):
            while (archived := await self._object(f"{build_uuid}.log")) is None:
                await asyncio.sleep(_POLL_SECONDS)
            return archived

    async def _object(self, name: str) -> bytes | None:
        if self.postgres is not None:
            return await asyncio.to_thread(self.postgres.object_of, name)
        file = self.folder / "data" / "objects" / name
        return file.read_bytes() if file.exists() else None

    async def until_waiting(self, app_id: str, build_id: str, seconds: float = 30) -> str:
        """Poll the build until it has `waiting_for`, which is returned."""
        async with asyncio.timeout(seconds):
            while (waiting := (await self.build(app_id, build_id))["waiting_for"]) is None:
                await asyncio.sleep(_POLL_SECONDS)
            return str(waiting)

    async def until_state(self, app_id: str, build_id: str, *states: str, seconds: float = 30) -> dict[str, Any]:
        """Poll the build until it is in one of these states."""
        async with asyncio.timeout(seconds):
            while True:
                found = await self.build(app_id, build_id)
                if found["state"] in states:
                    return found
                await asyncio.sleep(_POLL_SECONDS)


def end_agents(folder: Path) -> None:
    """Kill what builds of a Jenkins in `folder` left running: agents survive it, and repeat calls for 15 minutes."""
    for _ in range(100):  # a process may start another one meanwhile
        agents = [int(process.name) for process in Path("/proc").glob("[0-9]*") if _works_in(folder, process)]
        if not agents:
            return
        for pid in agents:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _works_in(folder: Path, process: Path) -> bool:
    try:
        return (process / "cwd").readlink().is_relative_to(folder / "jenkins")
    except OSError:  # it has ended, or belongs to the kernel or to another user
        return False


@asynccontextmanager
async def running_product(
    folder: Path,
    *,
    executors: int = 4,
    jenkins_port: int | None = None,
    postgres: OnPostgres | None = None,
    **settings: str,
) -> AsyncIterator[Product]:
    """Start everything in `folder`, and end it after the test.

    With `postgres`, or TESTS_DATABASE=postgresql in the environment, the shuttle uses PostgreSQL, and S3 for its
    objects.
    """
    own = postgres is None and os.environ.get("TESTS_DATABASE") == "postgresql"
    with on_postgres() if own else nullcontext(postgres) as used:
        async with _running_product(folder, used, executors, jenkins_port, settings) as product:
            yield product


@asynccontextmanager
async def running_replicas(
    folder: Path,
    count: int,
    *,
    executors: int = 4,
    jenkins_port: int | None = None,
    postgres: OnPostgres | None = None,
    each: Sequence[Mapping[str, str]] = (),
    **settings: str,
) -> AsyncIterator[Product]:
    """Start `count` replicas on one PostgreSQL database, behind a balancer: `product.url` is the balancer's.

    `each` are further settings (or other variables of the environment), a mapping for each replica.
    """
    ports = [free_port() for _ in range(count)]
    with on_postgres() if postgres is None else nullcontext(postgres) as used:
        async with balancer(ports) as balanced:
            shared = {"BUILD_SHUTTLE_HOST": balanced.url, **settings}
            async with _running_product(folder, used, executors, jenkins_port, shared, ports, each) as product:
                product.url, product.balancer = balanced.url, balanced
                yield product


@asynccontextmanager
async def _running_product(
    folder: Path,
    postgres: OnPostgres | None,
    executors: int,
    jenkins_port: int | None,
    settings: Mapping[str, str],
    ports: Sequence[int] = (),
    each: Sequence[Mapping[str, str]] = (),
) -> AsyncIterator[Product]:
    jenkins_port, ports = jenkins_port or free_port(), ports or [free_port()]
    jenkins = Process(
        "jenkins --port {} --home {} --executors {} --user {} --token {} --administrator".format(
            jenkins_port, folder / "jenkins", executors, USER, TOKEN
        ).split(),
        {},
        f"http://127.0.0.1:{jenkins_port}/login",
        folder / "jenkins.out",
    )
    environment = {
        "JENKINS_URL": f"http://{USER}:{TOKEN}@127.0.0.1:{jenkins_port}/",
        **FAST,
        **(postgres.settings if postgres is not None else {}),
        **settings,
    }
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    shuttles = []
    for index, (port, url) in enumerate(zip(ports, urls, strict=True)):
        own = {"PORT": str(port), "SHUTTLE_DATA_DIR": str(folder / (f"data{index}" if index else "data"))}
        output = folder / (f"shuttle{index}.out" if index else "shuttle.out")
        # Not /healthz, which is already OK while the service waits for its database.
        own |= each[index] if each else {}
        shuttles.append(Process(["serve"], environment | own, f"{url}/-/openapi.json", output))
    receivers: dict[str, Receiver] = {}

    async def on_status(request: web.Request) -> web.Response:
        return await receivers[request.match_info["name"]].on_status(request)

    async def on_log(request: web.Request) -> web.Response:
        return await receivers[request.match_info["name"]].on_log(request)

    app = web.Application(client_max_size=0)
    app.router.add_post("/{name}/status", on_status)
    app.router.add_post("/{name}/log", on_log)
    async with serving(app) as receivers_url, aiohttp.ClientSession() as session:
        try:
            await asyncio.gather(jenkins.start(), *(shuttle.start() for shuttle in shuttles))
            yield Product(
                folder=folder,
                url=urls[0],
                shuttle=shuttles[0],
                jenkins=jenkins,
                session=session,
                receivers=receivers,
                receivers_url=receivers_url,
                jenkins_port=jenkins_port,
                postgres=postgres,
                replicas=shuttles,
                ports=ports,
            )
        finally:
            for shuttle in shuttles:
                await shuttle.kill()
            await jenkins.kill()
            end_agents(folder)
