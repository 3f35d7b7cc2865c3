"""The Jenkins under test: the embedded one with a clock that the test drives, or the one that JENKINS_URL names.

JENKINS_URL carries `user:api-token@`. What else that Jenkins can offer is said by JENKINS_READER (`user:api-token` of
one who may only read), JENKINS_PASSWORD (of the user in JENKINS_URL) and JENKINS_ALONE=1 (nobody else uses it, so that
a test may fill its executors and quiet it down); scenarios that need more are left out, saying why.
"""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import aiohttp
from yarl import URL

from shuttle.embedded.jenkins import EmbeddedJenkins
from shuttle.embedded.jenkins.clock import ManualClock

TOKEN, PASSWORD, READER_TOKEN = "11f0token", "pass-word", "22f0token"
REAL_URL = os.environ.get("JENKINS_URL", "")


@dataclass
class ServerUnderTest:
    """`prefix` begins the name of every job that a test makes, so that a shared Jenkins stays as it was."""

    url: str
    credentials: dict[str, tuple[str, str]]
    embedded: EmbeddedJenkins | None = None
    clock: ManualClock | None = None
    prefix: str = field(default_factory=lambda: f"conformance-{secrets.token_hex(4)}-")

    @property
    def client_url(self) -> str:
        """What JENKINS_URL would be."""
        user, token = self.credentials.get("token", (None, None))
        return str(URL(self.url + "/").with_user(user).with_password(token))

    async def until(self, holds: Callable[[], Awaitable[bool]], seconds: float = 30) -> None:
        """Ask again until it holds; the time of an embedded Jenkins runs ten times as fast meanwhile."""
        async with asyncio.timeout(seconds):
            while not await holds():
                await asyncio.sleep(0.02)
                if self.clock is not None:
                    self.clock.advance(0.2)

    async def pass_time(self, seconds: float) -> None:
        """Only with a clock of our own."""
        assert self.clock is not None
        self.clock.advance(seconds)

    async def restart(self) -> None:
        """Only the embedded one: down, then 503 while it starts; `load` ends that."""
        assert self.embedded is not None
        await self.embedded.close()
        await self.embedded.listen()

    def load(self) -> None:
        assert self.embedded is not None
        self.embedded.load()


@asynccontextmanager
async def embedded_server(home: Path, *, secured: bool = True) -> AsyncIterator[ServerUnderTest]:
    clock = ManualClock()
    users = {"user": "admin", "token": TOKEN, "password": PASSWORD, "reader_token": READER_TOKEN} if secured else {}
    jenkins = EmbeddedJenkins(home, executors=4, clock=clock, **users)  # type: ignore[arg-type]
    await jenkins.start()
    credentials = {"token": ("admin", TOKEN), "password": ("admin", PASSWORD), "reader": ("reader", READER_TOKEN)}
    server = ServerUnderTest(jenkins.url, credentials if secured else {}, jenkins, clock)
    try:
        yield server
        await _delete_jobs(server)
    finally:
        await jenkins.close()


@asynccontextmanager
async def real_server() -> AsyncIterator[ServerUnderTest]:
    address = URL(REAL_URL)
    credentials = {"token": (address.user, address.password or "")} if address.user else {}
    if address.user and (password := os.environ.get("JENKINS_PASSWORD")):
        credentials["password"] = (address.user, password)
    if reader := os.environ.get("JENKINS_READER"):
        name, _, token = reader.partition(":")
        credentials["reader"] = (name, token)
    server = ServerUnderTest(str(address.with_user(None)).rstrip("/"), credentials)
    try:
        yield server
    finally:
        await _delete_jobs(server)


async def _delete_jobs(server: ServerUnderTest) -> None:
    """Stop and delete what a test made; the processes of its builds end with it."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        headers = {}
        if "token" in server.credentials:
            http.headers["Authorization"] = aiohttp.encode_basic_auth(*server.credentials["token"])
        else:
            async with http.get(f"{server.url}/crumbIssuer/api/json") as response:
                issued = await response.json()
                headers = {issued["crumbRequestField"]: issued["crumb"]}
        async with http.get(f"{server.url}/api/json?tree=jobs[name]") as response:
            jobs = [job["name"] for job in (await response.json())["jobs"]]
        for job in jobs:
            if job.lower().startswith(server.prefix):
                url = f"{server.url}/job/{quote(job)}/doDelete"
                async with http.post(url, headers=headers, allow_redirects=False) as response:
                    assert response.status == 302, (job, response.status)
