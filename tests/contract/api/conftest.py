"""Shuttles that are shared by many tests. Tests use apps of their own and ignore the builds of others."""

from collections.abc import AsyncIterator
from itertools import count

import pytest
import pytest_asyncio

from tests.support.inprocess import Jenkins, Shuttle, running_jenkins, running_shuttle

_NUMBERS = count(1)


@pytest.fixture
def app() -> str:
    """An app that no other test uses."""
    return f"app-{next(_NUMBERS)}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def idle(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shuttle]:
    """A shuttle whose Jenkins is down: builds are accepted and wait."""
    async with running_shuttle(tmp_path_factory.mktemp("idle")) as shuttle:
        yield shuttle


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def jenkins(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Jenkins]:
    """An emulated Jenkins behind a proxy that can misbehave."""
    async with running_jenkins(tmp_path_factory.mktemp("jenkins"), executors=8) as running:
        yield running
