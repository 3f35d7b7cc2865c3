"""Valid and invalid requests that are generated from the OpenAPI document get the responses that it describes.

The requests are the same in every run, except for parts that depend on earlier responses.
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
# The statuses that a request which violates the document may get; 410 is sent before the body is read.
REFUSED = ["400", "401", "403", "404", "405", "409", "410", "413", "415", "422"]
# Without `positive_data_acceptance`: a schema cannot say which texts are URLs of sources or names of images.
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,negative_data_rejection,ignored_auth,missing_required_header"
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shuttle(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shuttle]:
    """A shuttle with a build that has ended and left a log."""
    folder = tmp_path_factory.mktemp("described")
    async with (
        running_jenkins(folder) as jenkins,
        running_shuttle(folder, jenkins.url, SHUTTLE_TOKENS=f"controller:{TOKEN}") as running,
    ):
        running.headers["Authorization"] = f"Bearer {TOKEN}"
        await running.submit(ENDED, "echo hello")
        await running.until(ENDED)
        yield running


# Below `/-/state`, `"1"` counts as 1, as in the service that its clients were written for.
IN_STATE = ("--include-path-regex", "^/-/state/")
OF_STATE = CHECKS.replace("negative_data_rejection,", "")


# The coverage of every rule of ninety routes takes minutes. Without --long, `test_every_route_answers_as_described` and
# the calls of an agent cover every rule.
A_FEW = ("--phases", "fuzzing", "--max-examples", "2")
AMOUNTS = [A_FEW, pytest.param((), marks=pytest.mark.long)]


async def check_described(
    shuttle: Shuttle, folder: Path, token: str, *options: str, checks: str = CHECKS, **parameters: str
) -> None:
    """Request each route, with these path parameters; fail with every response that differs from its description."""
    configuration = folder / "schemathesis.toml"
    lines = [f"{json.dumps(f'path.{name}')} = {json.dumps(value)}" for name, value in parameters.items()]
    refused = [f"[checks.negative_data_rejection]\nexpected-statuses = {json.dumps(REFUSED)}", "[parameters]"]
    configuration.write_text("\n".join([*refused, *lines, ""]))
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", configuration, "run"),
        *(f"{shuttle.url}/-/openapi.json", "--header", f"Authorization: Bearer {token}", "--checks", checks),
        *("--phases", "coverage,fuzzing", "--generation-deterministic", "--max-examples", "4", "--no-color", *options),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await program.communicate()
    assert program.returncode == 0, output.decode()


async def test_every_route_answers_as_described(shuttle: Shuttle, tmp_path: Path):
    await check_described(shuttle, tmp_path, TOKEN, "--exclude-path-regex", "^/-/state/")


@pytest.mark.parametrize("amount", AMOUNTS, ids=["a few", "all"])
async def test_every_route_of_build_state_answers_as_described(
    shuttle: Shuttle, tmp_path: Path, amount: tuple[str, ...]
):
    await check_described(shuttle, tmp_path, TOKEN, *IN_STATE, *amount, checks=OF_STATE)


@pytest.mark.parametrize("amount", AMOUNTS, ids=["a few", "all"])
async def test_what_build_state_shows_is_as_described(shuttle: Shuttle, tmp_path: Path, amount: tuple[str, ...]):
    for project in ({"name": "shop"}, {"name": "app", "description": "Of a build"}):
        assert (await shuttle.post("/-/state/projects", project)).status in {200, 201, 409}  # 200 = it was deactivated
    assert (await shuttle.post("/-/state/projects/shop/state-codes", {"name": "build", "code": 5})).status == 201
    assert (await shuttle.post("/-/state/projects/shop/resumable-states", {"state_code": 5})).status == 201
    assert (await shuttle.post("/-/state/platforms", {"name": "aws"})).status == 201
    named = {"project_id": "shop", "state_code_id": "build", "reference_id": "aws", "code": "5"}
    await check_described(
        shuttle, tmp_path, TOKEN, *IN_STATE, *amount, "--include-method", "GET", checks=OF_STATE, **named
    )


@pytest.mark.parametrize("amount", AMOUNTS, ids=["a few", "all"])
async def test_responses_about_a_build_match_their_description(
    shuttle: Shuttle, tmp_path: Path, amount: tuple[str, ...]
):
    of_the_build = {"app_id": "app", "build_id": "1", "segment": "app", "delivery_id": "1"}
    await check_described(shuttle, tmp_path, TOKEN, "--include-method", "GET", *amount, **of_the_build)


async def test_responses_to_an_agent_match_their_description(tmp_path: Path):
    """The test claims the build, which Jenkins never gets, so that each token is valid for its calls."""
    async with running_shuttle(tmp_path) as shuttle:
        answer = await shuttle.post(HELD, script_request())
        assert answer.status == 200
        agent = await agent_of(shuttle, HELD)
        assert await agent.files("source.tar.gz")
        # `log` and `claim` come last: a push may end the build, and a further claim voids these tokens.
        for token, calls in (
            (agent.run_token, "(progress|report|artifacts)"),
            (agent.setup_token, "(source|environment|begin)"),
            (agent.run_token, "log"),
            (agent.token, ""),
        ):
            of_the_agent = "--include-path-regex", f"^/-/builds/[^/]+/{calls}"
            await check_described(shuttle, tmp_path, token, *of_the_agent, build_uuid=agent.uuid)
