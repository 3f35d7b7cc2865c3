"""A running emulated Jenkins."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from jenkins_emulator import EmulatedJenkins
from jenkins_emulator.permissions import ADMINISTRATOR
from tests.unit.jenkins_emulator.emulator_caller import Caller


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


Start = Callable[..., Awaitable[EmulatedJenkins]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts servers, by default with the test's home directory, and ends them."""
    started: list[EmulatedJenkins] = []

    async def begin(home: Path | None = None, **options: Any) -> EmulatedJenkins:
        options = {
            "permissions": ADMINISTRATOR,
            "user": "admin",
            "token": "tok",
            "password": "pw",
            "reader_token": "look",
            **options,
        }
        jenkins = EmulatedJenkins(home or tmp_path / "home", **options)
        started.append(jenkins)
        await jenkins.start()
        return jenkins

    yield begin
    for jenkins in started:
        await jenkins.close()


@pytest.fixture
async def caller(start: Start, session: aiohttp.ClientSession) -> Caller:
    return Caller(session, (await start()).url)
