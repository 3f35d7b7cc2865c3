"""What the pipeline on the agent calls, with the build's token and nothing else (contract, section 6)."""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.contract.agent_caller import Agent, agent_of, unpacked
from tests.inprocess import Jenkins, Shuttle, running_shuttle

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMIT_BYTES = 100_000
REPORTED = {"id": "one", "state": "succeeded", "image": "h/o/r:1", "digest": "sha256:00", "variables": {"a": "b"}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shuttle(tmp_path_factory: pytest.TempPathFactory, jenkins: Jenkins) -> AsyncIterator[Shuttle]:
    folder = tmp_path_factory.mktemp("agent")
    settings = {"MAXIMUM_PARALLEL_BUILDS": "8", "SHUTTLE_MAX_ARTIFACT_BYTES": str(LIMIT_BYTES)}
    async with running_shuttle(folder, jenkins.url, EXTRA_BUILD_ARGS='{"FROM_US": "1"}', **settings) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def agent(shuttle: Shuttle) -> AsyncIterator[Agent]:
    """The agent of a build that runs while this module's tests play its part."""
    await shuttle.submit("/agents/1", "exec /bin/sleep 300", arguments={"A": "x y", "N": 1.0, "PATH": "/evil"})
    await shuttle.until("/agents/1", "running")
    yield await agent_of(shuttle, "/agents/1")
    await shuttle.delete("/agents/1")
    await shuttle.until("/agents/1")


async def names(agent: Agent) -> list[str]:
    return [entry["name"] for entry in (await agent.shuttle.get(f"{agent.path}/artifacts")).json["artifacts"]]


async def test_claims(agent: Agent):
    """The claim of Jenkins' build 1 came in before; the same number may ask again, another may not."""
    assert (await agent.ask("POST", "claim", json={"number": 1})).status == 200
    refused = await agent.ask("POST", "claim", json={"number": 2})
    assert (refused.status, refused.json["code"]) == (409, "conflict")
    for wrong in ({}, {"number": "1"}, {"number": 0}, {"number": True}, {"number": 1.5}, {"number": 2**60}, [1], None):
        answer = await agent.ask("POST", "claim", data=json.dumps(wrong))
        assert (answer.status, answer.json["field"]) == (400, "number")
    assert (await agent.ask("POST", "claim", data=b"{")).json["code"] == "invalid_json"


async def test_the_source_is_one_flat_tar_gz(agent: Agent):
    answer = await agent.ask("GET", "source.tar.gz")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/gzip")
    assert set(unpacked(answer.body)) == {"build.sh"}


async def test_the_environment_is_plain_files(agent: Agent):
    answer = await agent.ask("GET", "environment")
    assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
    files = unpacked(answer.body)
    values = set(files.values())
    assert {b"A=x y", b"N=1", b"PATH=/evil", b"FROM_US=1"} <= values
    assert agent.token.encode() not in answer.body
    assert agent.token.encode() not in b"".join(values)


async def test_a_report_counts_once(agent: Agent):
    first = await agent.ask("POST", "report", json=REPORTED)
    assert (first.status, first.json) == (200, {"status": "OK", "recorded": True})
    again = await agent.ask("POST", "report", json={**REPORTED, "image": "other"})
    assert (again.status, again.json["recorded"]) == (200, False)
    build = await agent.shuttle.build(agent.path)
    assert (build["image"], build["digest"]) == ("h/o/r:1", "sha256:00")


@pytest.mark.parametrize(
    ("report", "field"),
    [
        ({}, "id"),
        ({"id": ""}, "id"),
        ({"id": "x" * 201}, "id"),
        ({"id": 5}, "id"),
        ({"id": "x", "reason": "Not a code"}, "reason"),
        ({"id": "x", "variables": {"a": 1}}, "variables.a"),
        ({"id": "x", "message": "\ud800"}, "message"),
        ({"id": "x", "image": "\ud800"}, "image"),
        ({"id": "x", "variables": {"\ud800": "x"}}, "variables"),
        ([], ""),
    ],
    ids=str,
)
async def test_a_report_that_is_none(agent: Agent, report: object, field: str):
    answer = await agent.ask("POST", "report", data=json.dumps(report))
    assert answer.status == 400
    assert str(answer.json.get("field", "")).startswith(field)


async def test_a_report_has_a_limit(agent: Agent):
    answer = await agent.ask("POST", "report", json={"id": "x", "message": "x" * 300_000})
    assert answer.status == 413


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("a.txt", "a.txt"),
        ("sub%2Fdir%2Ff", "sub/dir/f"),
        ("sub/dir/g", "sub/dir/g"),
        ("a%20b%25", "a b%"),
        ("%C3%A9%20%F0%9F%9A%80", "é 🚀"),
        ("-", "-"),
        ("%7Bx%7D", "{x}"),
        ("x" * 200, "x" * 200),
        ("...", "..."),
    ],
)
async def test_artifacts(agent: Agent, written: str, name: str):
    put = await agent.ask("PUT", f"artifacts/{written}", data=b"content")
    digest = hashlib.sha256(b"content").hexdigest()
    assert (put.status, put.json) == (200, {"status": "OK", "sha256": digest, "bytes": 7})
    listed = (await agent.shuttle.get(f"{agent.path}/artifacts")).json["artifacts"]
    assert (name, 7, digest) in [(entry["name"], entry["bytes"], entry["sha256"]) for entry in listed]
    read = await agent.shuttle.get(f"{agent.path}/artifacts/{written}")
    assert (read.status, read.body, read.headers["ETag"]) == (200, b"content", f'"{digest}"')
    assert read.headers["X-Content-Type-Options"] == "nosniff"
    assert read.headers["Content-Disposition"] == "attachment"
    head = await agent.shuttle.ask("HEAD", f"{agent.path}/artifacts/{written}")
    assert (head.status, head.headers["Content-Length"]) == (200, "7")
    assert (await agent.shuttle.get(f"{agent.path}/artifacts/other")).status == 404


@pytest.mark.parametrize(
    "written",
    [
        "..",
        "%2E%2E",
        "a/../b",
        "..%2Fb",
        "%2Fetc%2Fpasswd",
        "a//b",
        "a%2F",
        "a%5Cb",
        "%00",
        "a%0Ab",
        "%FF",
        "x" * 1001,
        ".",
    ],
)
async def test_names_that_no_artifact_can_have(agent: Agent, written: str):
    before = await names(agent)
    answer = await agent.ask("PUT", f"artifacts/{written}", data=b"x")
    assert answer.status in {400, 404}
    assert await names(agent) == before


async def test_an_artifact_again_replaces_the_first(agent: Agent):
    for content in (b"first", b"second"):
        assert (await agent.ask("PUT", "artifacts/f", data=content)).status == 200
    assert (await agent.shuttle.get(f"{agent.path}/artifacts/f")).body == b"second"
    assert (await names(agent)).count("f") == 1


async def test_a_content_type_that_cannot_be_sent_back_is_not_kept(agent: Agent):
    agent_headers = {"Authorization": f"Bearer {agent.token}"}
    for number, (sent, kept) in enumerate(
        [("text/html", "text/html"), ("\u00ff/\u00e9", "application/octet-stream"), ("", "application/octet-stream")]
    ):
        path = f"/-/builds/{agent.uuid}/artifacts/{number}"
        answer = await agent.shuttle.ask("PUT", path, data=b"x", headers={**agent_headers, "Content-Type": sent})
        assert answer.status == 200
        assert (await agent.shuttle.get(f"{agent.path}/artifacts/{number}")).headers["Content-Type"] == kept


async def test_an_artifact_too_large_or_cut_is_not_recorded(agent: Agent):
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * (LIMIT_BYTES // 2)

    assert (await agent.ask("PUT", "artifacts/large", data=b"x" * LIMIT_BYTES)).status == 200
    assert (await agent.ask("PUT", "artifacts/larger", data=b"x" * (LIMIT_BYTES + 1))).status == 413
    assert (await agent.ask("PUT", "artifacts/endless", data=endless())).status == 413
    reader, writer = await asyncio.open_connection("127.0.0.1", agent.shuttle.port)
    head = f"PUT /-/builds/{agent.uuid}/artifacts/cut HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {agent.token}\r\n"
    writer.write(f"{head}Content-Length: 10\r\n\r\nhalf".encode())
    writer.write_eof()
    await reader.read()
    writer.close()
    assert {"large", "larger", "endless", "cut"} & set(await names(agent)) == {"large"}


CALLS: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "claim", {"json": {"number": 1}}),
    ("GET", "source.tar.gz", {}),
    ("GET", "environment", {}),
    ("POST", "report", {"json": {"id": "late"}}),
    ("PUT", "artifacts/late", {"data": b"x"}),
]


async def test_the_token_opens_this_build_only(agent: Agent, shuttle: Shuttle, app: str):
    await shuttle.submit(f"/{app}-other/1", "sleep 30")
    other = await agent_of(shuttle, f"/{app}-other/1")
    assert other.token != agent.token
    for method, what, sent in CALLS:
        for wrong in (other.token, "", "x", agent.token + "x", agent.token[:-1]):
            answer = await agent.ask(method, what, token=wrong, **sent)
            assert (answer.status, answer.json["code"]) == (401, "unauthorized")
        assert (
            await Agent(shuttle, "", "0a7f4f0e-0000-4000-8000-0", agent.token).ask(method, what, **sent)
        ).status == 401
    for path in (agent.path, "/-/builds", f"{agent.path}/logs"):  # without tokens, reading is anybody's
        assert (await shuttle.get(path, headers={"Authorization": f"Bearer {agent.token}"})).status == 200
    await shuttle.delete(f"/{app}-other/1")


async def test_the_token_in_the_url_is_not_one(agent: Agent):
    path = f"/-/builds/{agent.uuid}/environment?token={agent.token}&Authorization=Bearer%20{agent.token}"
    assert (await agent.shuttle.get(path)).status == 401


async def test_the_token_is_invalid_after_the_end(shuttle: Shuttle, app: str):
    await shuttle.submit(f"/{app}/1")
    agent = await agent_of(shuttle, f"/{app}/1")
    ended = await shuttle.until(f"/{app}/1")
    for method, what, sent in CALLS:
        assert (await agent.ask(method, what, **sent)).status == 401
    assert await shuttle.build(f"/{app}/1") == ended


async def test_a_stopped_build_cannot_be_claimed(idle: Shuttle, app: str):
    """Neither one that Jenkins was never asked to run."""
    await idle.submit(f"/{app}/1")
    agent = await agent_of(idle, f"/{app}/1")
    assert (await agent.ask("POST", "claim", json={"number": 1})).status == 409
    await idle.delete(f"/{app}/1")
    assert (await agent.ask("POST", "claim", json={"number": 1})).status == 401


async def test_the_first_reason_stays_and_explains_the_failure(shuttle: Shuttle, app: str):
    secret = "hidden-value-123"
    body = {"arguments": {"S": secret}, "secret_arguments": ["S"]}
    await shuttle.submit(f"/{app}/1", "echo begun; sleep 0.3; exit 1", **body)
    await shuttle.until(f"/{app}/1", "running")
    agent = await agent_of(shuttle, f"/{app}/1")
    encoded = base64.b64encode(secret.encode()).decode()
    for number, reason in enumerate(("registry_refused", "second")):
        message = f"It said:\n {secret} {encoded}\x1b[31m"
        await agent.ask("POST", "report", json={"id": f"r{number}", "reason": reason, "message": message})
    build = await shuttle.until(f"/{app}/1")
    assert (build["state"], build["reason"]) == ("failed", "registry_refused")
    assert build["message"].startswith("It said: [secret] [secret]")
    log = (await shuttle.whole_log(f"/{app}/1")).decode()
    assert log.splitlines()[-1] == f"-----> {build['message']}"
    assert secret not in log + str(build)


async def test_what_the_users_process_sees(shuttle: Shuttle, app: str):
    body = {"arguments": {"MINE": "x'y", "CI": "mine"}, "secret_arguments": ["MINE"]}
    await shuttle.submit(f"/{app}/a%20b", "mkdir dist; env -0 > dist/env", **body)
    await shuttle.until(f"/{app}/a%20b")
    seen = dict(
        entry.split("=", 1)
        for entry in (await shuttle.get(f"/{app}/a%20b/artifacts/env")).body.decode().split("\0")
        if entry
    )
    assert seen["MINE"] == "x'y"
    assert (seen["SHUTTLE_APP_ID"], seen["SHUTTLE_BUILD_ID"], seen["FROM_US"]) == (app, "a b", "1")
    assert {"PATH", "HOME", "LANG", "CI"} <= set(seen)
    agent = await agent_of(shuttle, f"/{app}/a%20b")
    assert agent.token not in str(seen)
    assert set(seen) <= {
        *(
            "MINE",
            "FROM_US",
            "CI",
            "SHUTTLE_APP_ID",
            "SHUTTLE_BUILD_ID",
            "PATH",
            "HOME",
            "LANG",
            "PWD",
            "OLDPWD",
            "SHLVL",
        ),
        "_",
    }
