from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from shuttle.jenkins.client import JenkinsClient
from tests.unit.jenkins.fake_jenkins import FakeJenkins


@pytest.fixture
async def fake() -> AsyncIterator[FakeJenkins]:
    async with FakeJenkins() as fake:
        yield fake


@pytest.fixture
async def connect(fake: FakeJenkins) -> AsyncIterator[Callable[..., JenkinsClient]]:
    """A client of the fake as user `ci` with the API token `t0ken-secret`; keywords go to the client."""
    clients: list[JenkinsClient] = []

    def connect(url: str | None = None, **named: Any) -> JenkinsClient:
        clients.append(JenkinsClient(url or f"http://ci:t0ken-secret@{fake.host_port}/", **named))
        return clients[-1]

    yield connect
    for client in clients:
        await client.close()
