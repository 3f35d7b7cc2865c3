"""The calls of a supervisor, and which token each call needs."""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from shuttle.lifecycle.agent_calls import SHORTEST_PAUSE_SECONDS
from shuttle.objects.names import artifact_object
from shuttle.web import agent_artifacts
from tests.contract.agent_caller import SETUP_CALLS, Agent, agent_of, unpacked
from tests.support.inprocess import Jenkins, Shuttle, running_shuttle

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMIT_BYTES = 100_000
IMAGE, DIGEST = "registry.example.org/team/shop:7", "sha256:" + "ab" * 32
REPORTED = {"id": "one", "state": "succeeded", "image": IMAGE, "digest": DIGEST, "variables": {"a": "b"}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shuttle(tmp_path_factory: pytest.TempPathFactory, jenkins: Jenkins) -> AsyncIterator[Shuttle]:
    """A shuttle whose builds wait for an agent that does not exist; the tests make the agent's calls."""
    folder = tmp_path_factory.mktemp("agent")
    settings = {"MAXIMUM_PARALLEL_BUILDS": "100", "SHUTTLE_MAX_ARTIFACT_BYTES": str(LIMIT_BYTES)}
    settings |= {"SHUTTLE_JENKINS_AGENT_LABEL": "nowhere", "EXTRA_BUILD_ARGS": '{"FROM_US": "1"}'}
    async with running_shuttle(folder, jenkins.url, **settings) as running:
        yield running


async def waiting_agent(shuttle: Shuttle, path: str, **fields: Any) -> Agent:
    """The agent of a new build that Jenkins has and that was not claimed."""
    await shuttle.submit(path, **fields)
    await shuttle.until(path, "queued")
    return await agent_of(shuttle, path)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def agent(shuttle: Shuttle) -> AsyncIterator[Agent]:
    """The agent of a running build, before `begin`."""
    agent = await waiting_agent(shuttle, "/agents/1", arguments={"A": "x y", "N": 1.0, "PATH": "/evil"})
    assert (await agent.claim()).status == 200
    yield agent


async def names(agent: Agent) -> list[str]:
    return [entry["name"] for entry in (await agent.shuttle.get(f"{agent.path}/artifacts")).json["artifacts"]]


async def test_claim_starts_the_build_and_returns_tokens(shuttle: Shuttle, app: str):
    agent = await waiting_agent(shuttle, f"/{app}/1")
    answer = await agent.claim()
    assert answer.status == 200
    assert set(answer.json) == {"setup_token", "run_token", "stop_grace_seconds", "console", "log_url", "log"}
    assert answer.json["log_url"] == f"{shuttle.url}/{app}/1/logs"
    assert answer.json["log"] == {"pause_seconds": SHORTEST_PAUSE_SECONDS, "max_bytes": 2 * 1024**3}
    assert len({agent.token, agent.setup_token, agent.run_token}) == 3
    assert (await shuttle.build(agent.path))["state"] == "running"


async def test_claim_by_another_jenkins_build_is_refused(agent: Agent):
    refused = await agent.claim(number=2)
    assert (refused.status, refused.json["code"]) == (409, "conflict")


async def test_same_nonce_repeats_the_claim_and_another_voids_its_tokens(shuttle: Shuttle, app: str):
    agent = await waiting_agent(shuttle, f"/{app}/1")
    first = await agent.claim()
    assert (await agent.claim()).json == first.json
    second = await agent.claim(nonce="the step was begun anew".replace(" ", "-"))
    assert second.json["run_token"] != first.json["run_token"]
    for call, token in (("environment", "setup_token"), ("source.tar.gz", "setup_token"), ("begin", "setup_token")):
        method = "POST" if call == "begin" else "GET"
        assert (await agent.ask(method, call, token=first.json[token])).status == 410
    for call in ("log?stream=main&offset=0", "report", "progress"):
        assert (await agent.ask("POST", call, token=first.json["run_token"])).status == 410
    assert (await agent.ask("GET", "environment")).status == 200


async def test_after_begin_nothing_can_be_claimed_or_read(shuttle: Shuttle, app: str):
    agent = await waiting_agent(shuttle, f"/{app}/1")
    await agent.claim()
    assert (await agent.ask("GET", "environment")).status == 200
    assert (await agent.ask("POST", "begin")).status == 200
    assert (await agent.ask("POST", "begin")).status == 200
    for call in ("environment", "source.tar.gz"):
        assert (await agent.ask("GET", call)).status == 410
        assert (await agent.ask("GET", call, token=agent.token)).status == 401
        assert (await agent.ask("GET", call, token=agent.run_token)).status == 401
    assert (await agent.claim()).status == 409
    assert (await agent.claim(nonce="another-nonce-0001")).status == 409


async def test_branch_gets_its_own_tokens_and_no_credentials_after_begin(shuttle: Shuttle, app: str):
    image = {"url": f"docker://user:registry-password@{IMAGE}"}
    agent = await waiting_agent(shuttle, f"/{app}/1", pipeline="docker-image", destination=image)
    await agent.begun()
    branch = Agent(shuttle, agent.path, agent.uuid, agent.token)
    assert (await branch.claim(branch="linux")).status == 200
    assert branch.run_token != agent.run_token
    assert (await branch.ask("GET", "source.tar.gz")).status == 200
    files = await branch.files("environment")
    assert not [name for name in files if name.endswith("config.json")]
    assert "registry-password" not in str(files)
    assert (await branch.push(b"one\n")).status == 200
    assert (await branch.ask("POST", "report", json={"id": "of the branch"})).status == 200


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        *[({"number": number}, "number") for number in ("1", 0, True, 1.5, 2**60, None)],
        *[
            ({"nonce": nonce}, "nonce")
            for nonce in (None, "", "x" * 15, "x" * 129, "with blanks in it!", 5, ["x" * 16])
        ],
        *[({"branch": branch}, "branch") for branch in (None, "a b", "a/b", "x" * 65, 5)],
    ],
    ids=str,
)
async def test_invalid_claim_is_refused(agent: Agent, wrong: dict[str, object], field: str):
    body = {"number": 1, "nonce": "nonce-of-a-test-0001"} | wrong
    answer = await agent.ask("POST", "claim", data=json.dumps(body))
    assert (answer.status, answer.json["field"]) == (400, field)


async def test_claim_that_is_not_json_is_refused(agent: Agent):
    assert (await agent.ask("POST", "claim", data=b"{")).json["code"] == "invalid_json"
    assert (await agent.ask("POST", "claim", data=b"[1]")).json["field"] == "number"
    assert (await agent.ask("POST", "claim", data=b" " * 5000)).status == 413


async def test_source_is_a_normalized_tar_gz(agent: Agent):
    answer = await agent.ask("GET", "source.tar.gz")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/gzip")
    assert set(unpacked(answer.body)) == {"build.sh"}


async def test_environment_consists_of_plain_files(agent: Agent):
    answer = await agent.ask("GET", "environment")
    assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
    values = set(unpacked(answer.body).values())
    assert {b"A=x y", b"N=1", b"PATH=/evil", b"FROM_US=1"} <= values
    for token in (agent.token, agent.setup_token, agent.run_token):
        assert token.encode() not in b"".join(values)


async def test_only_pipelines_that_pull_or_push_get_credentials(tmp_path: Path, jenkins: Jenkins):
    registries = '{"registry.example.org": {"username": "operator", "password": "operators-password"}}'
    settings = {"SHUTTLE_JENKINS_AGENT_LABEL": "nowhere", "EXTRA_DOCKER_REGISTRY_CONFIG": registries}
    async with running_shuttle(tmp_path, jenkins.url, **settings) as shuttle:
        script = await waiting_agent(shuttle, "/credentials/1")
        assert not [name for name in await script.files("environment") if name.endswith("config.json")]
        image = {"url": f"docker://{IMAGE}"}
        pushing = await waiting_agent(shuttle, "/credentials-pushing/1", pipeline="docker-image", destination=image)
        assert "destinations/000001/config.json" in await pushing.files("environment")


async def test_report_is_recorded_once(shuttle: Shuttle, app: str):
    image = {"url": f"docker://{IMAGE}"}
    agent = await waiting_agent(shuttle, f"/{app}/1", pipeline="docker-image", destination=image)
    await agent.claim()
    first = await agent.ask("POST", "report", json=REPORTED)
    assert (first.status, first.json) == (200, {"status": "OK", "recorded": True})
    again = await agent.ask("POST", "report", json={**REPORTED, "digest": "sha256:" + "cd" * 32})
    assert (again.status, again.json["recorded"]) == (200, False)
    build = await shuttle.build(agent.path)
    assert (build["image"], build["digest"]) == (IMAGE, DIGEST)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"image": "registry.example.org/team/shop:8"}, "image"),
        ({"image": "registry.example.org/team/shop"}, "image"),
        ({"image": f"docker://{IMAGE}"}, "image"),
        ({"image": None}, "image"),
        ({"digest": "sha256:00"}, "digest"),
    ],
    ids=str,
)
async def test_reported_image_must_be_a_destination(shuttle: Shuttle, app: str, changes: dict[str, str], field: str):
    image = {"url": f"docker://{IMAGE}"}
    agent = await waiting_agent(shuttle, f"/{app}/1", pipeline="docker-image", destination=image)
    await agent.claim()
    answer = await agent.ask("POST", "report", json=REPORTED | changes)
    assert (answer.status, answer.json["field"]) == (400, field)
    assert (await shuttle.build(agent.path))["image"] is None


async def test_pipeline_that_does_not_push_cannot_report_an_image(agent: Agent):
    answer = await agent.ask("POST", "report", json=REPORTED | {"id": "image"})
    assert (answer.status, answer.json["field"]) == (400, "image")


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
async def test_invalid_report_is_refused(agent: Agent, report: object, field: str):
    answer = await agent.ask("POST", "report", data=json.dumps(report))
    assert answer.status == 400
    assert str(answer.json.get("field", "")).startswith(field)


async def test_size_of_a_report_is_limited(agent: Agent):
    answer = await agent.ask("POST", "report", json={"id": "x", "message": "x" * 300_000})
    assert answer.status == 413
    assert answer.json["message"] == "Send at most 262144 bytes."  # no setting changes it


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
        ("a%5Cb", "a\\b"),
        ("..%5C..%5Cb", "..\\..\\b"),
    ],
)
async def test_artifact_is_uploaded_and_read_back(agent: Agent, written: str, name: str):
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
        "%00",
        "a%0Ab",
        "%FF",
        "x" * 1001,
        ".",
    ],
)
async def test_invalid_artifact_names_are_refused(agent: Agent, written: str):
    before = await names(agent)
    answer = await agent.ask("PUT", f"artifacts/{written}", data=b"x")
    assert answer.status in {400, 404}
    assert await names(agent) == before


async def test_second_upload_replaces_the_artifact(agent: Agent):
    for content in (b"first", b"second"):
        assert (await agent.ask("PUT", "artifacts/f", data=content)).status == 200
    assert (await agent.shuttle.get(f"{agent.path}/artifacts/f")).body == b"second"
    assert (await names(agent)).count("f") == 1


async def test_invalid_content_type_of_an_artifact_is_dropped(agent: Agent):
    agent_headers = {"Authorization": f"Bearer {agent.run_token}"}
    for number, (sent, kept) in enumerate(
        [("text/html", "text/html"), ("\u00ff/\u00e9", "application/octet-stream"), ("", "application/octet-stream")]
    ):
        path = f"/-/builds/{agent.uuid}/artifacts/{number}"
        answer = await agent.shuttle.ask("PUT", path, data=b"x", headers={**agent_headers, "Content-Type": sent})
        assert answer.status == 200
        assert (await agent.shuttle.get(f"{agent.path}/artifacts/{number}")).headers["Content-Type"] == kept


async def test_too_large_or_truncated_artifact_is_not_recorded(agent: Agent):
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * (LIMIT_BYTES // 2)

    assert (await agent.ask("PUT", "artifacts/large", data=b"x" * LIMIT_BYTES)).status == 200
    assert (await agent.ask("PUT", "artifacts/larger", data=b"x" * (LIMIT_BYTES + 1))).status == 413
    assert (await agent.ask("PUT", "artifacts/endless", data=endless())).status == 413
    reader, writer = await asyncio.open_connection("127.0.0.1", agent.shuttle.port)
    head = (
        f"PUT /-/builds/{agent.uuid}/artifacts/cut HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {agent.run_token}\r\n"
    )
    writer.write(f"{head}Content-Length: 10\r\n\r\nhalf".encode())
    writer.write_eof()
    await reader.read()
    writer.close()
    assert {"large", "larger", "endless", "cut"} & set(await names(agent)) == {"large"}


CALLS: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "claim", {"json": {"number": 1, "nonce": "nonce-of-a-test-0001"}}),
    ("GET", "source.tar.gz", {}),
    ("GET", "environment", {}),
    ("POST", "begin", {}),
    ("POST", "log?stream=main&offset=0", {"data": b"late"}),
    ("POST", "progress", {"json": {"id": "late", "stage": "build", "event": "begin"}}),
    ("POST", "report", {"json": {"id": "late"}}),
    ("PUT", "artifacts/late", {"data": b"x"}),
]


async def test_each_token_is_valid_for_its_calls_of_its_build_only(agent: Agent, shuttle: Shuttle, app: str):
    other = await waiting_agent(shuttle, f"/{app}-other/1")
    await other.claim()
    mine = {agent.token, agent.setup_token, agent.run_token}
    others = {other.token, other.setup_token, other.run_token, "", "x"}
    for method, what, sent in CALLS:
        right = agent.token if what == "claim" else agent.setup_token if what in SETUP_CALLS else agent.run_token
        for wrong in (others | mine | {right + "x", right[:-1]}) - {right}:
            answer = await agent.ask(method, what, token=wrong, **sent)
            assert (answer.status, answer.json["code"]) == (401, "unauthorized")
        unknown = Agent(shuttle, "", "0a7f4f0e-0000-4000-8000-0", right, right, right)
        assert (await unknown.ask(method, what, **sent)).status == 401


async def test_token_in_the_url_is_not_accepted_from_agents(agent: Agent):
    path = f"/-/builds/{agent.uuid}/environment?token={agent.setup_token}&Authorization=Bearer%20{agent.setup_token}"
    assert (await agent.shuttle.get(path)).status == 401


async def test_agents_calls_are_refused_after_the_end(shuttle: Shuttle, app: str):
    agent = await (await waiting_agent(shuttle, f"/{app}/1")).begun()
    await agent.end()
    ended = await shuttle.until(agent.path)
    for method, what, sent in CALLS:
        answer = await agent.ask(method, what, **sent)
        if what.startswith("log"):  # the response for a supervisor that does not know of the end yet
            assert (answer.status, answer.headers["Shuttle-Stop"]) == (200, "over")
            assert answer.headers["Shuttle-Log-Offset"] == "4"
        else:
            assert answer.status == 410
    assert await shuttle.build(agent.path) == ended


async def test_call_that_began_before_the_end_changes_nothing_after_it(shuttle: Shuttle, app: str):
    agent = await (await waiting_agent(shuttle, f"/{app}/1")).begun()
    over = asyncio.Event()
    under_way = asyncio.Barrier(4)

    async def slow(body: bytes) -> AsyncIterator[bytes]:
        yield body[:1]
        await under_way.wait()
        await over.wait()
        yield body[1:]

    report = {"id": "late", "state": "failed", "reason": "late", "message": "Late.", "variables": {"late": "1"}}
    progress = {"id": "late", "stage": "late", "event": "begin"}
    async with asyncio.TaskGroup() as tasks:
        calls = [
            tasks.create_task(agent.ask(method, what, data=slow(body)))
            for method, what, body in (
                ("PUT", "artifacts/late", b"late"),
                ("POST", "report", json.dumps(report).encode()),
                ("POST", "progress", json.dumps(progress).encode()),
            )
        ]
        await under_way.wait()
        assert (await agent.end()).status == 200
        before = await shuttle.until(agent.path)
        over.set()
    assert [call.result().status for call in calls] == [410] * 3
    assert await shuttle.build(agent.path) == before
    assert await shuttle.services.objects.head(artifact_object(agent.uuid, "late")) is None


async def test_number_of_reports_is_limited(shuttle: Shuttle, app: str):
    agent = await (await waiting_agent(shuttle, f"/{app}/1")).begun()
    answers = [await agent.ask("POST", "report", json={"id": f"{number}"}) for number in range(102)]
    assert [answer.status for answer in answers] == [200] * 100 + [409] * 2
    again = await agent.ask("POST", "report", json={"id": "99"})
    assert (again.status, again.json["recorded"]) == (200, False)


async def test_total_size_of_reports_is_limited(shuttle: Shuttle, app: str):
    """Encrypted, 150,000 bytes become 200,100, so five reports fit into 1 MiB."""
    agent = await (await waiting_agent(shuttle, f"/{app}/1")).begun()
    answers = [
        await agent.ask("POST", "report", json={"id": f"{number}", "ignored": "x" * 150_000}) for number in range(6)
    ]
    assert [answer.status for answer in answers] == [200] * 5 + [409]
    assert (await agent.ask("POST", "report", json={"id": "small"})).status == 200


async def test_number_of_variables_is_limited_to_100(shuttle: Shuttle, app: str):
    agent = await (await waiting_agent(shuttle, f"/{app}/1")).begun()

    async def report(name: str, variables: dict[str, str]) -> tuple[int, str | None]:
        answer = await agent.ask("POST", "report", json={"id": name, "variables": variables})
        return answer.status, answer.json.get("field")

    most = {f"name-{number}": "value" for number in range(100)}
    assert await report("too many", most | {"one more": ""}) == (409, "variables")
    assert await report("most", most) == (200, None)
    assert await report("again", {"name-7": "another"}) == (200, None)
    assert await report("new", {"one more": ""}) == (409, "variables")


@pytest.mark.parametrize("field", ["image", "digest", "reason", "id"])
async def test_length_of_texts_in_a_report_is_limited(shuttle: Shuttle, app: str, field: str):
    agent = await (await waiting_agent(shuttle, f"/{app}/1")).begun()
    answer = await agent.ask("POST", "report", json={"id": "1"} | {field: "x" * 250_000})
    assert (answer.status, answer.json["field"]) == (400, field)


async def test_simultaneous_uploads_do_not_exceed_the_limit(
    shuttle: Shuttle, app: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(agent_artifacts, "_MAX_ARTIFACTS", 3)
    agent = await (await waiting_agent(shuttle, f"/{app}/1")).begun()
    answers = await asyncio.gather(*(agent.ask("PUT", f"artifacts/{name}", data=b"x") for name in "abcdefgh"))
    assert sorted(answer.status for answer in answers) == [200] * 3 + [409] * 5
    stored = [await shuttle.services.objects.head(artifact_object(agent.uuid, name)) for name in "abcdefgh"]
    assert [found is not None for found in stored] == [answer.status == 200 for answer in answers]


@pytest.mark.parametrize("declared", [True, False])
async def test_total_size_of_artifacts_is_limited(tmp_path, jenkins: Jenkins, app: str, declared: bool):
    async def chunked(content: bytes) -> AsyncIterator[bytes]:
        yield content

    settings = {"SHUTTLE_MAX_ARTIFACTS_BYTES": "100", "SHUTTLE_JENKINS_AGENT_LABEL": "nowhere"}
    async with running_shuttle(tmp_path, jenkins.url, **settings) as shuttle:
        agent = await (await waiting_agent(shuttle, f"/{app}/1")).begun()

        async def put(name: str, size_bytes: int) -> int:
            content = b"x" * size_bytes
            sent = content if declared else chunked(content)
            return (await agent.ask("PUT", f"artifacts/{name}", data=sent)).status

        statuses = [await put(name, size) for name, size in (("a", 60), ("b", 41), ("b", 40), ("a", 60), ("c", 1))]
        assert statuses == [200, 409, 200, 200, 409]
        assert await shuttle.services.objects.head(artifact_object(agent.uuid, "c")) is None


async def test_head_and_get_of_a_deleted_artifact_agree(agent: Agent):
    assert (await agent.ask("PUT", "artifacts/gone", data=b"x")).status == 200
    await agent.shuttle.services.objects.delete(artifact_object(agent.uuid, "gone"))
    for method in ("GET", "HEAD"):
        assert (await agent.shuttle.ask(method, f"{agent.path}/artifacts/gone")).status == 404


async def test_artifact_beyond_the_limit_is_not_stored(shuttle: Shuttle, app: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(agent_artifacts, "_MAX_ARTIFACTS", 1)
    agent = await (await waiting_agent(shuttle, f"/{app}/1")).begun()
    statuses = [(await agent.ask("PUT", f"artifacts/{name}", data=b"x")).status for name in ("one", "two", "one")]
    assert statuses == [200, 409, 200]
    assert await shuttle.services.objects.head(artifact_object(agent.uuid, "two")) is None


async def test_stopped_build_cannot_be_claimed(idle: Shuttle, app: str):
    """This includes a build for which Jenkins was never called."""
    await idle.submit(f"/{app}/1")
    agent = await agent_of(idle, f"/{app}/1")
    assert (await agent.claim()).status == 409
    await idle.delete(f"/{app}/1")
    assert (await agent.claim()).status == 410


async def test_progress_of_stages_is_shown(shuttle: Shuttle, app: str):
    agent = await (await waiting_agent(shuttle, f"/{app}/1")).begun()
    for event in (
        {"id": "1", "stage": "fetch", "event": "begin"},
        {"id": "2", "stage": "fetch", "event": "end", "code": 0, "status": "succeeded"},
        {"id": "3", "stage": "build", "event": "begin"},
    ):
        for recorded in (True, False):
            answer = await agent.ask("POST", "progress", json=event)
            assert (answer.status, answer.json["recorded"]) == (200, recorded)
    claim, fetch, build = (await shuttle.build(agent.path))["stages"]
    assert (claim["stage"], claim["state"], claim["status"], claim["ended_at"]) == (
        *("claim", 5, "succeeded"),
        fetch["began_at"],
    )
    assert (fetch["stage"], fetch["code"], fetch["status"]) == ("fetch", 0, "succeeded")
    assert fetch["began_at"] <= fetch["ended_at"] <= build["began_at"]
    assert (build["stage"], build["ended_at"], build["branch"]) == ("build", None, None)


@pytest.mark.parametrize(
    ("event", "field"),
    [
        ({"id": ""}, "id"),
        ({"stage": ""}, "stage"),
        ({"stage": "x" * 65}, "stage"),
        ({"event": "middle"}, "event"),
        ({"code": "zero"}, "code"),
        ({"code": False}, "code"),
        ({"code": "7"}, "code"),
        ({"code": 2**40}, "code"),
        ({"state": -2}, "state"),
        ({"state": 1000}, "state"),
        ({"state": "10"}, "state"),
        ({"offset": -1}, "offset"),
        ({"offset": 10**15}, "offset"),
        ({"status": "x" * 201}, "status"),
    ],
    ids=str,
)
async def test_invalid_progress_is_refused(agent: Agent, event: dict[str, object], field: str):
    answer = await agent.ask("POST", "progress", json={"id": "1", "stage": "s", "event": "end"} | event)
    assert (answer.status, answer.json["field"]) == (400, field)


async def test_first_reported_reason_explains_the_failure(shuttle: Shuttle, app: str):
    secret = "hidden-value-123"
    body = {"arguments": {"S": secret}, "secret_arguments": ["S"]}
    agent = await (await waiting_agent(shuttle, f"/{app}/1", **body)).begun()
    encoded = base64.b64encode(secret.encode()).decode()
    for number, reason in enumerate(("registry_refused", "second")):
        message = f"It said:\n {secret} {encoded}\x1b[31m"
        await agent.ask("POST", "report", json={"id": f"r{number}", "reason": reason, "message": message})
    await agent.end(1, b"begun\n")
    build = await shuttle.until(agent.path)
    assert (build["state"], build["reason"]) == ("failed", "registry_refused")
    assert build["message"].startswith("It said: [secret] [secret]")
    log = (await shuttle.whole_log(agent.path)).decode()
    assert log.splitlines()[-2:] == ["begun", f"-----> {build['message']}"]
    assert secret not in log + str(build)


async def test_environment_of_the_users_process(tmp_path: Path, jenkins: Jenkins, app: str):
    async with running_shuttle(tmp_path, jenkins.url, EXTRA_BUILD_ARGS='{"FROM_US": "1"}') as shuttle:
        await sees(shuttle, app)


async def sees(shuttle: Shuttle, app: str) -> None:
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
    ours = {f"{prefix}_{name}" for prefix in ("BLDST", "BUILDSTATE") for name in ("API_URL", "API_KEY", "BUILD_ID")}
    assert set(seen) <= ours | {
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
            "SHUTTLE_RUN",
        ),
        "_",
    }


@pytest.mark.parametrize(("method", "call", "allowed"), [("GET", "claim", "POST"), ("DELETE", "log", "POST")])
async def test_other_methods_of_agents_routes_get_405(agent: Agent, method: str, call: str, allowed: str):
    answer = await agent.ask(method, call)
    assert (answer.status, answer.headers["Allow"]) == (405, allowed)
    assert (await agent.ask("GET", "nothing")).status == 404


async def test_first_recorded_reason_is_kept_although_another_report_began_earlier(shuttle: Shuttle, app: str):
    agent = await (await waiting_agent(shuttle, f"/{app}/1")).begun()
    begun, sent = asyncio.Event(), asyncio.Event()

    async def slow(report: dict[str, str]) -> AsyncIterator[bytes]:
        body = json.dumps(report).encode()
        yield body[:1]
        begun.set()
        await sent.wait()
        yield body[1:]

    slower = {"id": "slower", "reason": "slower", "message": "Slower."}
    late = asyncio.create_task(agent.ask("POST", "report", data=slow(slower)))
    await begun.wait()
    first = await agent.ask("POST", "report", json={"id": "first", "reason": "first", "message": "First."})
    sent.set()
    assert (first.status, (await late).status) == (200, 200)
    await agent.end(1)
    build = await shuttle.until(agent.path)
    assert (build["reason"], build["message"]) == ("first", "First.")


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"image": "host/a b:1"}, "image"),
        ({"digest": DIGEST}, "image"),
        ({"image": IMAGE, "digest": "sha256:1"}, "digest"),
        ({"artifacts": [{"type": "ami", "location": ""}]}, "artifacts[0].location"),
        ({"artifacts": [{"type": "ami", "location": "a"}] * 201}, "artifacts"),
    ],
)
async def test_wrong_report_of_packer_is_refused(shuttle: Shuttle, app: str, wrong: dict[str, Any], field: str):
    agent = await waiting_agent(shuttle, f"/{app}/1", pipeline="packer-image")
    await agent.begun()
    refused = await agent.ask("POST", "report", json={"id": "one"} | wrong)
    assert (refused.status, refused.json["field"]) == (400, field)


async def test_report_of_references_is_recorded_once(shuttle: Shuttle, app: str):
    agent = await waiting_agent(shuttle, f"/{app}/1", pipeline="packer-image")
    await agent.begun()
    found = {"type": "amazonebs", "location": "us-east-1:ami-1"}
    report = {"id": "one", "image": IMAGE, "artifacts": [found, found, found | {"location": "eu-west-1:ami-2"}]}
    assert [(await agent.ask("POST", "report", json=report)).json["recorded"] for _ in range(2)] == [True, False]
    listed = (await shuttle.get(f"/-/state/builds/{agent.uuid}/artifacts")).json
    places = [(one["artifact_name"], one["artifact_path"]) for one in listed]
    assert places == [("amazonebs", "us-east-1:ami-1"), ("amazonebs-2", "eu-west-1:ami-2")]
    assert (await shuttle.build(agent.path))["image"] == IMAGE
