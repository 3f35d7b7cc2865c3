"""Any request gets a documented response, never a 500, and the service never accepts an invalid build."""

import asyncio
import json
import string
from itertools import count
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.examples import ask, quickly, runner, texts, values
from tests.support.answer import Answer
from tests.support.inprocess import Shuttle, running_shuttle, script_request

GOOD = script_request()
SEEN = script_request()
_NUMBERS = count()

__all__ = ["runner"]  # a fixture

FIELDS = ("source", "destination", "webhooks", "metadata", "human_readable_info", "arguments", "secret_arguments",
          "pipeline", "timeout_seconds", "labels", "resume_from")  # fmt: skip
PARTS = ("url", "checksum", "image", "tags", "status", "logs", "headers", "name", "options", "dockerfile")
bodies = st.one_of(
    values,
    st.dictionaries(st.sampled_from(FIELDS) | texts, values, max_size=6),
    st.fixed_dictionaries(
        {"source": st.fixed_dictionaries({"url": texts}, optional={"checksum": texts | values})},
        optional={name: values | st.dictionaries(st.sampled_from(PARTS), values, max_size=3) for name in FIELDS[1:]},
    ),
    # A valid request with one change passes the first checks.
    st.tuples(st.sampled_from(FIELDS), values).map(lambda change: {**GOOD, change[0]: change[1]}),
)
segments = st.text(max_size=12) | st.text(string.printable, max_size=12)


@pytest.fixture(scope="module")
def fuzzed(runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory):
    opened = running_shuttle(tmp_path_factory.mktemp("fuzz"), SHUTTLE_QUEUE_LIMIT="1000000")
    yield runner.run(opened.__aenter__())
    runner.run(opened.__aexit__(None, None, None))


def is_documented_error(answer: Answer) -> None:
    assert answer.headers["Content-Type"].startswith("application/json")
    if answer.status == 200:
        assert answer.json == {"status": "OK"}
        return
    assert answer.status < 500, answer.body
    assert answer.json["status"] == "error"
    assert answer.json["code"]
    assert answer.json["message"].endswith(".")
    assert "\n" not in answer.json["message"]


@pytest.mark.slow
@quickly
@given(body=bodies)
def test_any_json_gets_a_valid_response(runner: asyncio.Runner, fuzzed: Shuttle, body: Any):
    sent = json.dumps(body).encode()
    path = f"/fuzz/{next(_NUMBERS)}"
    answer = ask(runner, fuzzed.post(path, sent))
    is_documented_error(answer)
    if answer.status == 400 and isinstance(body, dict):
        unnamable = "names of the fields" in answer.json["message"]
        assert bool(answer.json.get("field")) is not unnamable, (answer.body, sent)
    if answer.status == 200:
        assert ask(runner, fuzzed.get(path)).json["metadata"] == body.get("metadata")
        assert ask(runner, fuzzed.post(path, sent)).headers["Shuttle-Replayed"] == "true"
        assert ask(runner, fuzzed.delete(path)).status in {200, 422}


@quickly
@given(
    body=st.binary(max_size=60) | st.text(alphabet='{}[]",:0123456789.eE+-truefalsn \n\\u', max_size=60).map(str.encode)
)
def test_any_bytes_get_a_valid_response(runner: asyncio.Runner, fuzzed: Shuttle, body: bytes):
    answer = ask(runner, fuzzed.post(f"/fuzz/{next(_NUMBERS)}", body))
    is_documented_error(answer)
    assert answer.status == 400


@pytest.mark.slow
@quickly
@given(
    app_id=segments,
    build_id=segments,
    more=st.sampled_from(["", "/status", "/logs", "/artifacts", "/artifacts/x", "/x"]),
)
def test_any_path_gets_a_valid_response(runner: asyncio.Runner, fuzzed: Shuttle, app_id: str, build_id: str, more: str):
    path = "/" + "/".join(
        quote(part.encode("utf-8", "surrogatepass"), safe="!$&'()*+,;=:@{}|^`") for part in (app_id, build_id)
    )
    for method in ("GET", "POST", "DELETE", "HEAD"):
        answer = ask(runner, fuzzed.ask(method, path + more, json=GOOD if method == "POST" else None))
        assert answer.status < 500, (method, path + more, answer.body)
        if answer.status >= 400 and method != "HEAD":
            assert answer.json["status"] in {"error", "Not Found", "Bad Request - missing fields."}


queries = st.dictionaries(
    st.sampled_from(["limit", "before", "state", "offset", "follow", "app_id"]), texts, max_size=3
)
lists = st.sampled_from(["/-/builds", "/fuzz", "/-/deliveries", "/fuzz/seen/logs"])


@pytest.mark.slow
@quickly
@given(query=queries, path=lists, header=st.text(string.printable, max_size=20))
def test_any_query_gets_a_valid_response(
    runner: asyncio.Runner, fuzzed: Shuttle, query: dict[str, str], path: str, header: str
):
    if not path.startswith("/-/"):
        ask(runner, fuzzed.post("/fuzz/seen", SEEN))
    written = "&".join(f"{name}={quote(text.encode('utf-8', 'surrogatepass'))}" for name, text in query.items())
    headers = {"Range": "bytes=" + "".join(character for character in header if character.isprintable())}
    answer = ask(runner, fuzzed.get(f"{path}?{written}", headers=headers))
    assert answer.status < 500, (path, query, answer.body)
