"""The Jenkins under test: the emulated one with a clock that the test drives, or the one that JENKINS_URL names.

JENKINS_URL includes `user:api-token@`. Further variables enable more scenarios: JENKINS_READER (`user:api-token` of a
user who may only read), JENKINS_PASSWORD (of the user in JENKINS_URL) and JENKINS_ALONE=1 (nobody else uses this
Jenkins, so a test may fill its executors and quiet it down). Scenarios that need more are left out, with the reason.
"""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
from yarl import URL

from jenkins_emulator import EmulatedJenkins
from jenkins_emulator.clock import ManualClock
from jenkins_emulator.permissions import (
    ADMINISTRATOR,
    BUILD,
    CANCEL,
    CONFIGURE,
    CREATE,
    DELETE,
    OVERALL_READ,
    READ,
    READER,
    SHUTTLE_USER,
    UPDATE_BUILD,
)
from jenkins_emulator.security import Account

TOKEN, PASSWORD = "11f0token", "pass-word"
# In the newer recording: its user `shuttle`, and users who each lack one of that user's permissions.
RECORDED_USER = SHUTTLE_USER - {UPDATE_BUILD}
WITHOUT = {
    "no-read": OVERALL_READ,
    "no-iread": READ,
    "no-create": CREATE,
    "no-configure": CONFIGURE,
    "no-build": BUILD,
    "no-cancel": CANCEL,
    "no-delete": DELETE,
}
REAL_URL = os.environ.get("JENKINS_URL", "")


@dataclass
class ServerUnderTest:
    """`prefix` begins the name of every job that a test creates, so that a shared Jenkins' other jobs are unchanged."""

    url: str
    generation: str
    credentials: dict[str, tuple[str, str]]
    emulated: EmulatedJenkins | None = None
    clock: ManualClock | None = None
    prefix: str = field(default_factory=lambda: f"conformance-{secrets.token_hex(4)}-")

    @property
    def client_url(self) -> str:
        """The URL for JENKINS_URL."""
        user, token = self.credentials.get("token", (None, None))
        return str(URL(self.url + "/").with_user(user).with_password(token))

    async def until(self, holds: Callable[[], Awaitable[bool]], seconds: float = 30) -> None:
        """Wait until the condition holds; meanwhile the time of an emulated Jenkins passes ten times as fast."""
        async with asyncio.timeout(seconds):
            while not await holds():
                await asyncio.sleep(0.02)
                if self.clock is not None:
                    self.clock.advance(0.2)

    async def pass_time(self, seconds: float) -> None:
        """Let time pass; only the emulated Jenkins supports it."""
        assert self.clock is not None
        self.clock.advance(seconds)

    async def restart(self) -> None:
        """Restart the emulated Jenkins: it is down, then responds 503 while it starts; `load` ends that."""
        assert self.emulated is not None
        await self.emulated.close()
        await self.emulated.listen()

    def load(self) -> None:
        assert self.emulated is not None
        self.emulated.load()


def accounts(generation: str, *, is_recorded: bool) -> list[Account]:
    """The users of the recording; a test that replays nothing has a user with every permission."""
    newer = generation == "2.568"
    user = "shuttle" if newer else "admin"
    permissions = RECORDED_USER if newer and is_recorded else ADMINISTRATOR
    found = [
        Account(user, TOKEN, PASSWORD, permissions),
        Account("reader", "token-of-reader", permissions=READER),
    ]
    if newer:
        found.append(Account("admin", "token-of-admin", permissions=ADMINISTRATOR))
        found += [
            Account(name, f"token-of-{name}", permissions=RECORDED_USER - {permission})
            for name, permission in WITHOUT.items()
        ]
    return found


@asynccontextmanager
async def emulated_server(
    home: Path, generation: str, *, secured: bool = True, is_recorded: bool = True, **options: Any
) -> AsyncIterator[ServerUnderTest]:
    clock = ManualClock()
    users = accounts(generation, is_recorded=is_recorded) if secured else []
    jenkins = EmulatedJenkins(home, generation=generation, accounts=users, clock=clock, **{"executors": 4, **options})
    await jenkins.start()
    credentials = {user.name: (user.name, user.token or "") for user in users}
    if users:
        credentials |= {"token": (users[0].name, TOKEN), "password": (users[0].name, PASSWORD)}
    server = ServerUnderTest(jenkins.url, generation, credentials, jenkins, clock)
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
    url = str(address.with_user(None)).rstrip("/")
    server = ServerUnderTest(url, await generation_of(url), credentials)
    try:
        yield server
    finally:
        await _delete_jobs(server)


async def generation_of(url: str) -> str:
    """The recorded generation that is closest to a real server's version."""
    async with aiohttp.ClientSession() as http, http.get(f"{url}/login") as response:
        major, minor = response.headers["X-Jenkins"].split(".")[:2]
    return "2.568" if (int(major), int(minor)) >= (2, 500) else "2.263"


async def _delete_jobs(server: ServerUnderTest) -> None:
    """Stop and delete the jobs that a test created, so that the processes of its builds end."""
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
                await server.until(partial(_is_deleted, server, http, job, headers), 60)


async def _is_deleted(
    server: ServerUnderTest, http: aiohttp.ClientSession, job: str, headers: Mapping[str, str]
) -> bool:
    """If a build does not end in time, deleting its job fails and is retried."""
    url = f"{server.url}/job/{quote(job)}/doDelete"
    answer = asyncio.ensure_future(http.post(url, headers=headers, allow_redirects=False))

    async def has_answered() -> bool:
        return answer.done()

    await server.until(has_answered)
    async with await answer as response:
        assert response.status in (302, 500), (job, response.status)
        return response.status == 302
