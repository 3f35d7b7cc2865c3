import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from shuttle.jenkins import Jenkins
from shuttle.jenkins.client import JenkinsClient
from tests.contract.jenkins.exchanges import FILES
from tests.contract.jenkins.replay import Replay
from tests.contract.jenkins.servers import REAL_URL, ServerUnderTest, emulated_server, generation_of, real_server
from tests.support.unchecked import unchecked

# Scenarios that need a Jenkins started by the tests.
NEEDS = {
    "clock": "needs a clock that the test drives",
    "reader": "needs a second user who may only read",
    "password": "needs the user's password beside the API token",
    "token": "needs an API token in JENKINS_URL",
    "open": "needs a Jenkins without access control",
    "restart": "needs to restart Jenkins",
    "matrix": "needs the users of the newer recording",
    "alone": "needs a Jenkins that nobody else uses",
}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*what): what the server under test must offer")
    config.addinivalue_line("markers", "covers(*ids, generation): the recorded exchanges that a scenario replays")
    config.addinivalue_line("markers", "emulated(**options): how the emulated Jenkins is started")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A scenario runs against the recorded generation, every other test against both."""
    if "server" in metafunc.fixturenames:
        recorded = [mark.kwargs["generation"] for mark in metafunc.definition.iter_markers("covers")]
        metafunc.parametrize("generation", recorded or list(FILES))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A real Jenkins has one generation, and needs time for quiet periods, executors and starting scripts."""
    if not REAL_URL:
        return
    for item in items:
        item.add_marker(pytest.mark.timeout(300))
    address = URL(REAL_URL).with_user(None)
    generation = asyncio.run(generation_of(str(address).rstrip("/")))
    others = [item for item in items if _generation_of(item) not in {None, generation}]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in others]


def _generation_of(item: pytest.Item) -> object:
    """None = the test does not depend on a generation."""
    call = getattr(item, "callspec", None)
    return call.params.get("generation") if call is not None else None


@pytest.fixture
async def server(request: pytest.FixtureRequest, tmp_path: Path, generation: str) -> AsyncIterator[ServerUnderTest]:
    """The Jenkins under test, with its users unless the test needs one without access control."""
    needs = {what for mark in request.node.iter_markers("needs") for what in mark.args}
    assert needs <= NEEDS.keys()
    if not REAL_URL:
        options = {name: value for mark in request.node.iter_markers("emulated") for name, value in mark.kwargs.items()}
        options |= {"secured": "open" not in needs, "is_recorded": bool(list(request.node.iter_markers("covers")))}
        async with emulated_server(tmp_path / "jenkins", generation, **options) as server:
            yield server
        return
    async with real_server() as server:
        offered = set(server.credentials) or {"open"}
        if os.environ.get("JENKINS_ALONE") == "1":
            offered.add("alone")
        if missing := sorted(needs - offered):
            unchecked("; ".join(NEEDS[what] for what in missing))
        yield server


@pytest.fixture
async def replay(request: pytest.FixtureRequest, server: ServerUnderTest) -> AsyncIterator[Replay]:
    """A conversation with the server. At the end, exactly the exchanges of the scenario must have been compared."""
    # No cookies except those that a scenario sends, as in the recorded requests.
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        replay = Replay(server, http)
        yield replay
    claimed = [exchange for mark in request.node.iter_markers("covers") for exchange in mark.args]
    failed = request.node.stash.get(FAILED, False)
    assert failed or sorted(replay.replayed) == sorted(claimed)


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    report = yield
    if call.when == "call":
        item.stash[FAILED] = report.failed
    return report


@pytest.fixture
async def jenkins(server: ServerUnderTest) -> AsyncIterator[Jenkins]:
    client = JenkinsClient(server.client_url, queue_fresh_seconds=0.01)
    yield client
    await client.close()


@pytest.fixture
def job(server: ServerUnderTest) -> str:
    return server.prefix + "app"
