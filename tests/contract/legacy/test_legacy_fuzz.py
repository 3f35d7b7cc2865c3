"""Any request to the older API gets one of its documented responses, and every accepted build can be built."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.agent_caller import agent_of_uuid
from tests.contract.examples import ask, quickly, runner, texts, values
from tests.contract.legacy.caller import OK, LegacyApp
from tests.support.answer import Answer
from tests.support.inprocess import Shuttle, running_shuttle

__all__ = ["runner"]  # a fixture

FIELDS = [
    "app",
    "space",
    "app_uuid",
    "build_uuid",
    "sources",
    "build_number",
    "gm_registry_host",
    "gm_registry_repo",
    "gm_registry_auth",
    "build_args",
    "build_opts",
    "build_options",
    "kafka_hosts",
    "callback",
    "callback_auth",
    "docker_registry",
    "docker_login",
    "docker_password",
    "sha",
    "org",
    "branch",
    "repo",
    "unknown",
]
PARTS = ("username", "password", "auth", "A", "a-b", "PATH", "API_KEY", "1", "")
changes = st.dictionaries(
    st.sampled_from(FIELDS), texts | values | st.dictionaries(st.sampled_from(PARTS), texts | values), max_size=3
)
WORDS = {"Bad Request - missing fields.", "Bad Request - build uuid is invalid."}


@pytest.fixture(scope="module")
def fuzzed(runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory):
    opened = running_shuttle(tmp_path_factory.mktemp("fuzz"))
    yield runner.run(opened.__aenter__())
    runner.run(opened.__aexit__(None, None, None))


def is_documented_response(answer: Answer) -> None:
    if answer.status == 200:
        assert answer.body == OK
        return
    assert answer.status == 400, answer.body
    if answer.json["status"] not in WORDS:
        assert answer.json["status"] == "error"
        assert answer.json["field"]
        assert answer.json["message"].endswith(".")
        assert "\n" not in answer.json["message"]


@pytest.mark.slow
@quickly
@given(change=changes)
def test_any_fields_get_a_valid_response(runner: asyncio.Runner, fuzzed: Shuttle, change: dict[str, Any]):
    app = LegacyApp(fuzzed)
    body = app.request() | change
    answer = ask(runner, app.post(body))
    is_documented_response(answer)
    if answer.status == 200:
        assert ask(runner, app.post(body)).body == OK
        build_uuid = body["build_uuid"].lower()
        build = runner.run(app.record(build_uuid))
        if not build.state.final:
            assert runner.run(runner_environment(fuzzed, build_uuid))
        path = f"/{build.app_id}/{build.build_id}"
        status = ask(runner, fuzzed.get(f"{path}/status")).json
        assert (status["id"], status["type"]) == (int(build.build_id), "jenkins")
        assert ask(runner, fuzzed.delete(path)).body == OK


async def runner_environment(fuzzed: Shuttle, build_uuid: str) -> dict[str, bytes]:
    """The environment that its agent would get."""
    return await (await agent_of_uuid(fuzzed, build_uuid)).files("environment")


@pytest.mark.slow
@quickly
@given(body=values)
def test_any_json_gets_a_valid_response(runner: asyncio.Runner, fuzzed: Shuttle, body: Any):
    answer = ask(runner, fuzzed.post("/", json.dumps(body).encode()))
    assert answer.status == 400
    assert answer.json["status"] in WORDS | {"error"}
