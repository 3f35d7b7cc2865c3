"""Fixtures for the tests of both APIs: a shuttle with the emulated Jenkins of the respective tests."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.inprocess import Jenkins, Shuttle, running_shuttle


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shuttle(tmp_path_factory: pytest.TempPathFactory, jenkins: Jenkins) -> AsyncIterator[Shuttle]:
    """A shuttle that runs builds of several apps at the same time."""
    folder = tmp_path_factory.mktemp("shuttle")
    async with running_shuttle(folder, jenkins.url, MAXIMUM_PARALLEL_BUILDS="8") as running:
        yield running
