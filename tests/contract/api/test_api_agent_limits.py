"""The limits of agents' calls: the largest accepted value, and the smallest refused one."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from shuttle.store.progress import MAX_STATES
from shuttle.store.tables import states
from tests.contract.agent_caller import Agent, agent_of
from tests.support.inprocess import Jenkins, Shuttle, running_shuttle

pytestmark = pytest.mark.asyncio(loop_scope="module")

KIB = 1024


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shuttle(tmp_path_factory: pytest.TempPathFactory, jenkins: Jenkins) -> AsyncIterator[Shuttle]:
    """A shuttle whose builds wait for an agent that does not exist; the tests make the agent's calls."""
    folder: Path = tmp_path_factory.mktemp("limits")
    settings = {"MAXIMUM_PARALLEL_BUILDS": "100", "SHUTTLE_JENKINS_AGENT_LABEL": "nowhere"}
    async with running_shuttle(folder, jenkins.url, **settings) as running:
        yield running


async def waiting_agent(shuttle: Shuttle, path: str) -> Agent:
    """The agent of a new build that Jenkins has and that was not claimed."""
    await shuttle.submit(path)
    await shuttle.until(path, "queued")
    return await agent_of(shuttle, path)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def agent(shuttle: Shuttle) -> Agent:
    """The agent of a build after `begin`."""
    return await (await waiting_agent(shuttle, "/limits/1")).begun()


def padded(text: str, size_bytes: int) -> bytes:
    """JSON of exactly this size."""
    return text.encode().ljust(size_bytes)


@pytest.mark.parametrize(
    ("call", "body", "limit_bytes"),
    [
        ("report", '{"id": "limit"}', 256 * KIB),
        ("progress", '{"id": "limit", "stage": "s", "event": "begin"}', 4 * KIB),
    ],
)
async def test_size_of_a_body_is_limited(agent: Agent, call: str, body: str, limit_bytes: int):
    assert (await agent.ask("POST", call, data=padded(body, limit_bytes))).status == 200
    answer = await agent.ask("POST", call, data=padded(body, limit_bytes + 1))
    assert (answer.status, answer.json["code"]) == (413, "body_too_large")


@pytest.mark.slow
async def test_size_and_number_of_claims_are_limited(shuttle: Shuttle):
    agent = await waiting_agent(shuttle, "/claims/1")
    body = '{"number": 1, "nonce": "a-nonce-of-16-letters"}'
    assert (await agent.ask("POST", "claim", data=padded(body, 4 * KIB))).status == 200
    assert (await agent.ask("POST", "claim", data=padded(body, 4 * KIB + 1))).status == 413
    # Not all at once: together they would take longer than a call may on a busy machine.
    for first in range(0, 99, 11):
        nonces = [f"another-nonce-{number:04}" for number in range(first, first + 11)]
        assert {answer.status for answer in await asyncio.gather(*(agent.claim(nonce=each) for each in nonces))} == {
            200
        }
    assert (await agent.claim(nonce="one-more-than-is-allowed")).status == 409


@pytest.mark.parametrize(
    ("call", "name", "most", "body"),
    [
        ("report", "id", 200, {}),
        ("report", "reason", 64, {"id": "reason"}),
        ("progress", "id", 200, {"stage": "s", "event": "begin"}),
        ("progress", "stage", 64, {"id": "stage", "event": "begin"}),
        ("progress", "status", 200, {"id": "status", "stage": "s", "event": "end"}),
    ],
)
async def test_length_of_a_text_is_limited(agent: Agent, call: str, name: str, most: int, body: dict[str, Any]):
    assert (await agent.ask("POST", call, json={**body, name: "x" * most})).status == 200
    answer = await agent.ask("POST", call, json={**body, name: "x" * (most + 1)})
    assert (answer.status, answer.json["field"]) == (400, name)


@pytest.mark.parametrize(
    ("call", "name", "most"),
    [
        ("report", "id", 200),
        ("report", "reason", 64),
        ("report", "image", 1024),
        ("report", "digest", 71),
        ("progress", "stage", 64),
        ("progress", "status", 200),
    ],
)
async def test_error_for_a_long_text_has_the_limit_in_characters(agent: Agent, call: str, name: str, most: int):
    valid = {"id": "1", "stage": "s", "event": "begin"}
    answer = await agent.ask("POST", call, json={**valid, name: "x" * (most + 1)})
    assert (answer.status, answer.json["field"]) == (400, name)
    assert answer.json["message"] == f"Shorten {name}: it may have at most {most} characters."


async def test_length_of_a_variable_name_is_limited(agent: Agent):
    assert (await agent.ask("POST", "report", json={"id": "v1", "variables": {"x" * 200: ""}})).status == 200
    answer = await agent.ask("POST", "report", json={"id": "v2", "variables": {"x" * 201: ""}})
    assert answer.status == 400
    assert answer.json["message"].endswith("it may have at most 200 characters.")


async def test_an_error_does_not_repeat_a_long_name(agent: Agent):
    answer = await agent.ask("POST", "report", json={"id": "v3", "variables": {"x" * 250_000: ""}})
    assert answer.status == 400
    assert answer.json["field"].startswith("variables.xxx")
    assert len(answer.body) < 1024


@pytest.mark.slow
async def test_number_of_states_is_limited_to_10000(shuttle: Shuttle):
    agent = await (await waiting_agent(shuttle, "/stages/1")).begun()
    full = {"build_uuid": agent.uuid, "position": MAX_STATES - 1, "began_at": datetime.now(UTC)}
    await shuttle.services.database.run(lambda tx: tx.execute(states.insert(), full))
    body = {"id": "the last", "stage": "s", "event": "begin"}
    assert (await agent.ask("POST", "progress", json=body)).status == 200
    assert (await agent.ask("POST", "progress", json=body | {"id": "one more"})).status == 409
    assert (await agent.ask("POST", "progress", json=body)).json["recorded"] is False


async def test_length_of_an_artifact_name_is_limited(agent: Agent):
    name = "/".join(["x" * 100] * 9)[:900]
    assert (await agent.ask("PUT", f"artifacts/{name}", data=b"1")).status == 200
    assert (await agent.ask("PUT", f"artifacts/{name}x", data=b"1")).status == 400
