"""Shuttles for the older API: one whose Jenkins is down, and one that builds with a stand-in for the image builder."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.contract.legacy.caller import LegacyApp
from tests.support.image_builder import agent_path
from tests.support.inprocess import Jenkins, Shuttle, running_jenkins, running_shuttle


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def idle(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shuttle]:
    """A shuttle whose Jenkins is down: builds are accepted and wait."""
    async with running_shuttle(tmp_path_factory.mktemp("idle")) as shuttle:
        yield shuttle


@pytest.fixture
def waiting(idle: Shuttle) -> LegacyApp:
    """A new app on the shuttle whose builds wait."""
    return LegacyApp(idle)


@pytest.fixture(scope="module")
def builder_notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the stand-in's notes."""
    return tmp_path_factory.mktemp("builder")


@pytest.fixture(scope="module")
def builder_path(builder_notes: Path) -> str:
    """A PATH whose first builder is the stand-in."""
    return agent_path(builder_notes)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def jenkins(tmp_path_factory: pytest.TempPathFactory, builder_path: str) -> AsyncIterator[Jenkins]:
    """An emulated Jenkins behind a proxy that can misbehave; its agent has the stand-in on its PATH."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", builder_path)
        async with running_jenkins(tmp_path_factory.mktemp("jenkins"), executors=8) as running:
            yield running


@pytest.fixture
def app(shuttle: Shuttle, builder_notes: Path) -> LegacyApp:
    """A new app on the shuttle that builds."""
    return LegacyApp(shuttle, builder_notes=builder_notes)
