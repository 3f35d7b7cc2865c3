"""Runs the service and the emulated Jenkins in the test's process, which is fast and lets tests look inside.

Use it to test the API. Tests of restarts and signals need the processes of `tests/support/product.py`.
"""

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

from jenkins_emulator import EmulatedJenkins
from jenkins_emulator.clock import Clock
from jenkins_emulator.permissions import ADMINISTRATOR
from shuttle.app import shuttle_parts
from shuttle.lifecycle import Services
from shuttle.settings import Settings, load_settings
from shuttle.store.builds import find_build
from shuttle.store.tx import Topic
from shuttle.web.packerd.tls import packerd_tls
from shuttle.web.server import make_packerd_web, make_runner, make_web, tls_listener
from shuttle.worker import Worker
from tests.support.answer import Answer
from tests.support.described import assert_described
from tests.support.free_port import free_port
from tests.support.migrated_database import write_migrated_database
from tests.support.product import FAST, TOKEN, USER, data_url, end_agents

# Nothing listens on the discard port, so connecting fails immediately.
NO_JENKINS = f"http://{USER}:{TOKEN}@127.0.0.1:9/"
FINAL = ("succeeded", "failed", "stopped", "timedout")


@dataclass
class Shuttle:
    """A running shuttle, with methods for its callers' requests."""

    url: str
    port: int
    data: Path
    session: aiohttp.ClientSession
    services: Services
    worker: Worker
    site: web.Application
    packerd_port: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    _noticed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        for topic in Topic:
            self.services.database.subscribe(topic, lambda _: self._noticed.set())

    async def ask(self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **sent: Any) -> Answer:
        """Send a request; `path` is sent as written, including percent-escapes and dots."""
        url = URL(self.url + path, encoded=True)
        async with self.session.request(
            method, url, headers={**self.headers, **(headers or {})}, allow_redirects=False, **sent
        ) as response:
            body = await response.read()
            assert_described(method, path, response.status, response.headers, body)
            return Answer(response.status, response.headers, body)

    async def get(self, path: str, **sent: Any) -> Answer:
        return await self.ask("GET", path, **sent)

    async def post(self, path: str, body: Any = None, **sent: Any) -> Answer:
        """Post `body`, as JSON unless it is bytes."""
        if isinstance(body, bytes):
            return await self.ask("POST", path, data=body, skip_auto_headers=("Content-Type",), **sent)
        return await self.ask("POST", path, json=body, **sent)

    async def delete(self, path: str, **sent: Any) -> Answer:
        return await self.ask("DELETE", path, **sent)

    async def submit(self, path: str, script: str = "true", **fields: Any) -> None:
        """Request a `script` build with this build.sh."""
        answer = await self.post(path, script_request(script, **fields))
        assert answer.status == 200, answer.body

    async def build(self, path: str) -> dict[str, Any]:
        """The build as GET returns it."""
        answer = await self.get(path)
        assert answer.status == 200, answer.body
        found: dict[str, Any] = answer.json
        return found

    async def until(self, path: str, *states: str, seconds: float = 20) -> dict[str, Any]:
        """Wait until the build has one of these states, or any final state if none is given."""
        wanted = states or FINAL
        return await self.until_shown(path, lambda build: build["state"] in wanted, seconds=seconds)

    async def until_shown(self, path: str, condition: Any, seconds: float = 20) -> dict[str, Any]:
        """Wait until `condition` is true of the build as GET returns it."""
        build: dict[str, Any] = {}
        try:
            async with asyncio.timeout(seconds):
                while True:
                    self._noticed.clear()
                    build = await self.build(path)
                    if condition(build):
                        return build
                    await self._until_noticed()
        except TimeoutError:
            raise AssertionError(f"still {build}") from None

    async def _until_noticed(self) -> None:
        """Wait for a notice of the database, at most 0.1 s, because not every change sends one."""
        with suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                await self._noticed.wait()

    async def until_settled(self, build_uuid: str, seconds: float = 10) -> None:
        """Wait until the log of an ended build is archived and its spool removed."""
        async with asyncio.timeout(seconds):
            while True:
                build = await self.services.database.run(find_build, build_uuid)
                assert build is not None
                if build.archived_at is not None and not (self.data / "spool" / f"{build_uuid}.log").exists():
                    return
                await asyncio.sleep(0.02)

    async def whole_log(self, path: str) -> bytes:
        """Wait until the log is complete, and return it."""
        answer = await self.get(f"{path}/logs?follow=true")
        assert answer.status == 200, answer.body
        return answer.body


def script_request(script: str = "true", /, **fields: Any) -> dict[str, Any]:
    """The request of a `script` build."""
    return {"source": {"url": data_url({"build.sh": "#!/bin/sh\n" + script + "\n"})}, "pipeline": "script", **fields}


@asynccontextmanager
async def running_shuttle(folder: Path, jenkins_url: str = NO_JENKINS, **settings: str) -> AsyncIterator[Shuttle]:
    """The service with its data in `folder`, composed like `shuttle serve`; `settings` have the environment's names.

    A service that replaces another one needs the same PORT, because running agents push to that address.
    """
    data = folder / "data"
    environment = {"JENKINS_URL": jenkins_url, "SHUTTLE_DATA_DIR": str(data), **FAST, **settings}
    checked = load_settings(environment)
    if not checked.postgres_url and not checked.database_path.exists():
        checked.database_path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        await write_migrated_database(checked.database_path)
    port = int(settings.get("PORT") or free_port())
    url = f"http://127.0.0.1:{port}"
    async with (
        shuttle_parts(checked, checked.build_shuttle_host or url) as (services, worker, membership, _),
        aiohttp.ClientSession() as session,
    ):
        app = make_web(services, worker, membership)
        runner = make_runner(app, shutdown_seconds=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
        try:
            async with _packerd(app, checked) as packerd_port:
                yield Shuttle(url, port, data, session, services, worker, app, packerd_port)
        finally:
            await runner.cleanup()


@asynccontextmanager
async def _packerd(app: web.Application, settings: Settings) -> AsyncIterator[int]:
    """The listener of packer over REST; yields its port, 0 without the setting."""
    if settings.packerd_address is None:
        yield 0
        return
    runner = make_runner(make_packerd_web(app), shutdown_seconds=0.1)
    await runner.setup()
    tls, listening = packerd_tls(settings), socket.create_server(settings.packerd_address)
    listener = None if tls is None else tls_listener(runner, listening, tls)
    if listener is None:
        await web.SockSite(runner, listening).start()
    else:
        listener.start()
    try:
        yield listening.getsockname()[1]
    finally:
        if listener is not None:
            await listener.close()
        await runner.cleanup()


@asynccontextmanager
async def running_jenkins(folder: Path, *, executors: int = 4, clock: Clock | None = None) -> AsyncIterator["Jenkins"]:
    """An emulated Jenkins behind a proxy that can misbehave."""
    emulated = EmulatedJenkins(
        folder / "jenkins", executors=executors, user=USER, token=TOKEN, permissions=ADMINISTRATOR, clock=clock
    )
    await emulated.start()
    jenkins = Jenkins(emulated)
    await jenkins.start()
    try:
        yield jenkins
    finally:
        await jenkins.stop()
        await emulated.close()
        end_agents(folder)


class Jenkins:
    """A proxy before the emulated Jenkins, which can misbehave.

    `fault(request)` returns a response, or None to pass the request on. `lose_answers` passes requests on, but closes
    the connection instead of responding.
    """

    def __init__(self, emulated: EmulatedJenkins) -> None:
        self.emulated = emulated
        self.port = 0
        self.fault: Any = None
        self.lose_answers: Any = None
        self.calls: list[tuple[str, str]] = []
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None

    @property
    def url(self) -> str:
        """The URL for JENKINS_URL."""
        return f"http://{USER}:{TOKEN}@127.0.0.1:{self.port}/"

    async def start(self) -> None:
        """Listen; after a `stop`, on the same port again."""
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._session = aiohttp.ClientSession(auto_decompress=False)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05)
        await self._runner.setup()
        self.port = self.port or free_port()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()

    async def stop(self) -> None:
        """Refuse connections until the next `start`."""
        if self._runner is not None and self._session is not None:
            await self._runner.cleanup()
            await self._session.close()
            self._runner = self._session = None

    async def call(self, method: str, path: str, **sent: Any) -> int:
        """Make a request to Jenkins past the proxy, like a person; returns the status."""
        async with (
            aiohttp.ClientSession(headers=_PERSON) as session,
            session.request(method, self.emulated.url + path, allow_redirects=False, **sent) as response,
        ):
            await response.read()
            return response.status

    async def read(self, path: str) -> bytes:
        """Read a page of Jenkins past the proxy, like a person."""
        async with (
            aiohttp.ClientSession(headers=_PERSON) as session,
            session.get(self.emulated.url + path) as response,
        ):
            return await response.read()

    async def finished(self, job: str, number: int, seconds: float = 10) -> None:
        """Wait until this Jenkins build has ended."""
        async with asyncio.timeout(seconds):
            while True:
                if not json.loads(await self.read(f"/job/{job}/{number}/api/json"))["building"]:
                    return
                await asyncio.sleep(0.02)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.calls.append((request.method, request.raw_path))
        faulty = self.fault(request) if self.fault is not None else None
        if faulty is not None:
            answer: web.StreamResponse = faulty
            return answer
        assert self._session is not None
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        async with self._session.request(
            request.method,
            URL(self.emulated.url + request.raw_path, encoded=True),
            headers=headers,
            data=await request.read(),
            allow_redirects=False,
        ) as response:
            body = await response.read()
        if self.lose_answers is not None and self.lose_answers(request):
            assert request.transport is not None
            request.transport.abort()
        kept = {name: value for name, value in response.headers.items() if name.lower() not in _HOP_BY_HOP}
        return web.Response(status=response.status, headers=kept, body=body)


_PERSON = {"Authorization": "Basic " + base64.b64encode(f"{USER}:{TOKEN}".encode()).decode()}
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})
