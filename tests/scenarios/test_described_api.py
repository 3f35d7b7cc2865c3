"""Requests made of the OpenAPI document, good and bad ones: the running service answers as the document says.

The examples are the same in every run, but for what depends on earlier answers.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.contract.agent_caller import agent_of
from tests.support.inprocess import Shuttle, running_jenkins, running_shuttle, script_request

pytestmark = [pytest.mark.timeout(240), pytest.mark.asyncio(loop_scope="module")]
TOKEN = "controllers-token-of-the-test"
ENDED, HELD = "/app/1", "/held/1"
# Of a request that is not as described; 410 comes before a look at the body.
REFUSED = ["400", "401", "403", "404", "405", "409", "410", "413", "415", "422"]
# Not `positive_data_acceptance`: that a source is no URL, or an image has no name, is beyond a schema.
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,negative_data_rejection,ignored_auth,missing_required_header"
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shuttle(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shuttle]:
    """With a build that has ended and left a log."""
    folder = tmp_path_factory.mktemp("described")
    async with (
        running_jenkins(folder) as jenkins,
        running_shuttle(folder, jenkins.url, SHUTTLE_TOKENS=f"controller:{TOKEN}") as running,
    ):
        running.headers["Authorization"] = f"Bearer {TOKEN}"
        await running.submit(ENDED, "echo hello")
        await running.until(ENDED)
        yield running


async def ask_as_described(shuttle: Shuttle, folder: Path, token: str, *options: str, **parameters: str) -> None:
    """Ask each route, with these parameters of paths where they are given; fail with all that is not as described."""
    configuration = folder / "schemathesis.toml"
    lines = [f"{json.dumps(f'path.{name}')} = {json.dumps(value)}" for name, value in parameters.items()]
    refused = [f"[checks.negative_data_rejection]\nexpected-statuses = {json.dumps(REFUSED)}", "[parameters]"]
    configuration.write_text("\n".join([*refused, *lines, ""]))
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", configuration, "run"),
        *(f"{shuttle.url}/-/openapi.json", "--header", f"Authorization: Bearer {token}", "--checks", CHECKS),
        *("--phases", "coverage,fuzzing", "--generation-deterministic", "--max-examples", "8", "--no-color", *options),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await program.communicate()
    assert program.returncode == 0, output.decode()


async def test_every_route_answers_as_described(shuttle: Shuttle, tmp_path: Path):
    await ask_as_described(shuttle, tmp_path, TOKEN)


async def test_what_is_read_of_a_build_is_as_described(shuttle: Shuttle, tmp_path: Path):
    await ask_as_described(
        shuttle, tmp_path, TOKEN, "--include-method", "GET", app_id="app", build_id="1", segment="app", delivery_id="1"
    )


async def test_an_agents_calls_are_answered_as_described(tmp_path: Path):
    """Of a build that Jenkins never sees: the test has claimed it, so that each token opens its calls."""
    async with running_shuttle(tmp_path) as shuttle:
        answer = await shuttle.post(HELD, script_request())
        assert answer.status == 200
        agent = await agent_of(shuttle, HELD)
        assert await agent.files("source.tar.gz")
        # A pushed end ends the build, and another claim voids the tokens of this one: so these come last.
        for token, calls in (
            (agent.run_token, "(progress|report|artifacts)"),
            (agent.setup_token, "(source|environment|begin)"),
            (agent.run_token, "log"),
            (agent.token, ""),
        ):
            of_the_agent = "--include-path-regex", f"^/-/builds/[^/]+/{calls}"
            await ask_as_described(shuttle, tmp_path, token, *of_the_agent, build_uuid=agent.uuid)
