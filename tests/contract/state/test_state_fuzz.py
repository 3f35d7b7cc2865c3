"""Any request below `/-/state` gets a described answer and never a 500."""

import asyncio
import json
import string
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shuttle.web.routes import ROUTES
from tests.contract.examples import ask, quickly, runner, texts, values
from tests.support.inprocess import Shuttle, running_shuttle

__all__ = ["runner"]  # a fixture

WRITES = sorted({(route.method, route.path) for route in ROUTES if route.state_api and route.method in {"POST", "PUT"}})
FIELDS = ("name", "display_name", "description", "region", "cloud_provider", "version", "parent_project_id", "code",
          "project_id", "is_final", "is_error", "is_terminal", "sort_order", "color", "state_code", "resume_strategy",
          "required_artifacts", "resume_timeout_seconds")  # fmt: skip
LISTS = ("builds", "projects", "platforms", "state-codes", "projects/fuzz/resumable-states")
QUERY = ("skip", "limit", "include_deactivated", "project_id", "is_resumable", "platform", "status")
bodies = values | st.dictionaries(st.sampled_from(FIELDS) | texts, values, max_size=5)
named = st.dictionaries(st.sampled_from(FIELDS), values, max_size=3).map(lambda body: {"name": "fuzz", **body})
keys = st.sampled_from(["fuzz", "5", "-1"]) | st.text(max_size=8) | st.text(string.printable, min_size=1, max_size=8)


@pytest.fixture(scope="module")
def fuzzed(runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory):
    opened = running_shuttle(tmp_path_factory.mktemp("fuzz"))
    shuttle = runner.run(opened.__aenter__())
    runner.run(shuttle.post("/-/state/projects", {"name": "fuzz"}))
    yield shuttle
    runner.run(opened.__aexit__(None, None, None))


def with_keys(path: str, key: str) -> str:
    """The path of a route with this text in place of each placeholder."""
    segments = path.split("/")
    escaped = quote(key.encode("utf-8", "surrogatepass"), safe="") or "x"
    return "/".join(escaped if segment.startswith("{") else segment for segment in segments)


@pytest.mark.slow
@quickly
@given(route=st.sampled_from(WRITES), body=bodies | named, key=keys)
def test_any_body_gets_a_described_answer(
    runner: asyncio.Runner, fuzzed: Shuttle, route: tuple[str, str], body: Any, key: str
):
    method, path = route[0], with_keys(route[1], key)
    answer = ask(runner, fuzzed.ask(method, path, data=json.dumps(body).encode()))
    assert answer.status < 500, (method, path, body, answer.body)
    if answer.status >= 400:
        assert list(answer.json) == ["detail"]


@pytest.mark.slow
@quickly
@given(
    query=st.dictionaries(st.sampled_from(QUERY), texts, max_size=3),
    path=st.sampled_from(LISTS),
)
def test_any_query_gets_a_described_answer(runner: asyncio.Runner, fuzzed: Shuttle, query: dict[str, str], path: str):
    written = "&".join(f"{name}={quote(text.encode('utf-8', 'surrogatepass'))}" for name, text in query.items())
    answer = ask(runner, fuzzed.get(f"/-/state/{path}?{written}"))
    assert answer.status in {200, 404, 422}, (path, query, answer.body)
