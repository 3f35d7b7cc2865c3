"""A service whose builds wait for an agent that does not exist, and a git server; the tests make the agent's calls."""

from collections.abc import AsyncIterator
from itertools import count

import pytest
import pytest_asyncio

from tests.contract.packerd.caller import Packerd
from tests.support.git_server import GitServer, Work, git_server
from tests.support.inprocess import running_jenkins, running_shuttle

_NUMBERS = count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def packerd(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Packerd]:
    """The API below `/-/packerd`."""
    folder = tmp_path_factory.mktemp("packerd")
    settings = {"MAXIMUM_PARALLEL_BUILDS": "100", "SHUTTLE_JENKINS_AGENT_LABEL": "nowhere"}
    async with (
        running_jenkins(folder) as jenkins,
        running_shuttle(folder, jenkins.url, **settings) as shuttle,
    ):
        yield Packerd(shuttle)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def idle(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Packerd]:
    """A service without a Jenkins and without requests."""
    async with running_shuttle(tmp_path_factory.mktemp("idle")) as shuttle:
        yield Packerd(shuttle)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def impatient(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Packerd]:
    """A service without a Jenkins that waits 2 s for a source."""
    folder = tmp_path_factory.mktemp("impatient")
    async with running_shuttle(folder, SHUTTLE_STAGE_TIMEOUT_SECONDS="2") as shuttle:
        yield Packerd(shuttle)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Packerd]:
    """A service with tokens."""
    tokens = "controller:controller-token-0001,reader:reader-token-0000001"
    async with running_shuttle(tmp_path_factory.mktemp("guarded"), SHUTTLE_TOKENS=tokens) as shuttle:
        yield Packerd(shuttle)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def git(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GitServer]:
    """A git server without a password."""
    async with git_server(tmp_path_factory.mktemp("git")) as server:
        yield server


@pytest.fixture
def work(git: GitServer) -> Work:
    """A repository that no other test uses, with a template."""
    work = git.repository(f"demo-{next(_NUMBERS)}")
    work.commit({"packer.json": '{"builders": [{"type": "null", "name": "docker-ubuntu", "communicator": "none"}]}'})
    return work


@pytest.fixture
def giturl(git: GitServer, work: Work) -> str:
    """Its URL."""
    return f"{git.url}/{work.served.name}"
