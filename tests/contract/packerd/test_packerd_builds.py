"""A build through packer over REST, from its request to its artifacts."""

import asyncio
import io
from datetime import timedelta

import pytest
from aiohttp import web

from shuttle.store.builds import find_build
from shuttle.store.tables import builds
from shuttle.store.tx import Tx
from tests.contract.agent_caller import agent_of_uuid
from tests.contract.packerd.caller import Packerd
from tests.support.git_server import GitServer, Work

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_request_has_its_links_from_the_first_moment(packerd: Packerd, giturl: str):
    body = {"giturl": giturl, "branch": "main", "templatepath": "packer.json", "buildonly": "docker-ubuntu"}
    variables = [{"key": "version", "value": "0.21"}, {"key": "docker_repo_password", "value": "hunter-2-hunter"}]
    answer = await packerd.ask("POST", "/build", json={**body, "buildvars": variables})
    assert answer.status == 202
    request_id = answer.json[0]["href"].removeprefix("/build/queue/")
    assert answer.json == [
        {"rel": "buildrequest", "href": f"/build/queue/{request_id}"},
        {"rel": "buildresponses", "href": f"/build/responses/{request_id}"},
        {"rel": "health", "href": "/health"},
    ]
    run = f"/build/responses/{request_id}/0"
    shown = await packerd.get(f"/build/queue/{request_id}")
    assert shown.json == {
        "id": request_id,
        **body,
        "responses": [request_id],
        "responselinks": [
            {"rel": "buildresponses", "href": f"/build/responses/{request_id}"},
            {"rel": "buildresponse", "href": run},
            {"rel": "buildstages", "href": f"{run}/stages"},
        ],
    }
    assert (await packerd.get(f"/build/responses/{request_id}")).json == [{"rel": "buildresponse", "href": run}]
    assert answer.json[0] in (await packerd.get("/build/queue")).json
    assert (await packerd.response(request_id))["buildrequest"] == [answer.json[0]]


@pytest.mark.slow
async def test_run_shows_the_stages_of_its_build(packerd: Packerd, giturl: str, work: Work):
    request_id = await packerd.build(giturl, branch="main")
    agent = await packerd.agent(request_id)
    staged = await packerd.response(request_id)
    assert [(each["name"], each["status"]) for each in staged["buildstages"]] == [
        ("GitClone", "complete"),
        ("GitCheckout", "complete"),
    ]
    assert giturl in staged["buildstages"][0]["log"]
    assert "of the branch main" in staged["buildstages"][1]["log"]
    await agent.stage("RunBerksVendor", b"no Berksfile\n")
    await agent.begin("RunPacker")
    await agent.agent.push(b"==> docker-ubuntu: one\n")
    running = await packerd.until(request_id, lambda run: run["buildstages"][-1].get("log"))
    assert (running["status"], running["buildstages"][-1]["status"]) == ("running", "running")
    assert "end" not in running["buildstages"][-1]
    await agent.end("RunPacker")
    await agent.stage("KitchenTest", b"no .kitchen.yml\n")
    await agent.stage("DockerClean", b"nothing to remove\n")
    await agent.agent.end()
    over = await packerd.until_over(request_id)
    assert over["status"] == "complete"
    assert {each["name"]: each["log"] for each in over["buildstages"][2:]} == {
        "RunBerksVendor": "no Berksfile\n",
        "RunPacker": "==> docker-ubuntu: one\n",
        "KitchenTest": "no .kitchen.yml\n",
        "DockerClean": "nothing to remove\n",
    }
    assert {each["status"] for each in over["buildstages"]} == {"complete"}
    assert all(each["start"] <= each["end"] for each in over["buildstages"])
    links = (await packerd.get(f"/build/responses/{request_id}/0/stages")).json
    assert [link["href"].rpartition("/")[2] for link in links] == [each["name"] for each in over["buildstages"]]
    for link, stage in zip(links, over["buildstages"], strict=True):
        assert (await packerd.get(link["href"])).json == stage


@pytest.mark.slow
async def test_log_of_a_failed_stage_says_why(packerd: Packerd, giturl: str):
    request_id = await packerd.build(giturl)
    agent = await packerd.agent(request_id)
    await agent.begin("RunPacker")
    await agent.agent.push(b"one\n")
    path = f"/build/responses/{request_id}/0/stages/RunPacker"
    following = asyncio.create_task(packerd.get(f"{path}?follow=true"))
    report = {"id": "f", "reason": "no_such_builder", "message": "The template has no builder typo."}
    assert (await agent.agent.ask("POST", "report", json=report)).status == 200
    await agent.end("RunPacker", 1)
    await agent.agent.end(1)
    over = await packerd.until_over(request_id)
    assert over["status"] == "failed"
    assert [(each["name"], each["status"]) for each in over["buildstages"]] == [
        ("GitClone", "complete"),
        ("RunPacker", "failed"),
    ]
    log = "one\n-----> The template has no builder typo.\n"
    assert [(await following).text, (await packerd.get(path)).json["log"]] == [log, log]


async def test_log_of_the_last_stage_says_who_ended_the_run(packerd: Packerd, giturl: str):
    """The agent has reported neither the reason nor the end of the stage."""
    request_id = await packerd.build(giturl)
    agent = await packerd.agent(request_id)
    await agent.stage("RunBerksVendor", b"one\n")
    await agent.begin("RunPacker")
    await agent.agent.push(b"two\n")
    assert (await packerd.ask("DELETE", f"/build/queue/{request_id}")).status == 200
    await agent.agent.end(143)
    over = await packerd.until_over(request_id)
    assert (over["status"], over["buildstages"][-2]["log"]) == ("failed", "one\n")
    log = "two\n-----> The build was stopped on request.\n"
    assert over["buildstages"][-1]["log"] == log
    assert (await packerd.get(f"/build/responses/{request_id}/0/stages/RunPacker?follow=true")).text == log


@pytest.mark.slow
async def test_run_that_is_stopped_before_its_clone_says_so(packerd: Packerd, giturl: str):
    await packerd.agent(await packerd.build(giturl))
    request_id = await packerd.build(giturl)
    assert (await packerd.ask("DELETE", f"/build/queue/{request_id}")).status == 200
    [stage] = (await packerd.response(request_id))["buildstages"]
    assert (stage["name"], stage["status"]) == ("GitClone", "failed")
    assert stage["log"] == "-----> The build was stopped on request.\n"


@pytest.mark.parametrize(
    ("repository", "branch", "stages", "sentence"),
    [
        ("", "absent", ["GitClone complete", "GitCheckout failed"], "no such branch"),
        ("/absent.git", "main", ["GitClone failed"], "does not exist"),
        ("/closed.git", "main", ["GitClone failed"], "asks for valid credentials"),
        ("/hanging.git", "", ["GitClone failed"], "did not arrive within 2 seconds"),
    ],
)
async def test_source_that_cannot_be_cloned_fails_its_stage(
    packerd: Packerd,
    impatient: Packerd,
    git: GitServer,
    giturl: str,
    repository: str,
    branch: str,
    stages: list[str],
    sentence: str,
):
    url = giturl.rpartition("/")[0] + repository if repository else giturl
    hanging = asyncio.Event()

    async def fault(request: web.Request) -> web.Response | None:
        if request.path.startswith("/hanging.git"):
            await hanging.wait()
        return web.Response(status=401) if request.path.startswith("/closed.git") else None

    git.fault = fault
    asked = impatient if repository == "/hanging.git" else packerd
    over = await asked.until_over(await asked.build(url, branch=branch))
    git.fault = None
    hanging.set()
    assert over["status"] == "failed"
    assert [f"{each['name']} {each['status']}" for each in over["buildstages"]] == stages
    assert sentence in over["buildstages"][-1]["log"]


async def test_log_of_a_stage_is_followed_as_text(packerd: Packerd, giturl: str):
    request_id = await packerd.build(giturl)
    agent = await packerd.agent(request_id)
    await agent.begin("RunPacker")
    following = asyncio.create_task(packerd.get(f"/build/responses/{request_id}/0/stages/RunPacker?follow=true"))
    await agent.agent.push(b"one\n")
    await agent.agent.push(b"two\n")
    await agent.end("RunPacker")
    answer = await following
    assert (answer.status, answer.headers["Content-Type"], answer.body) == (
        200,
        "text/plain; charset=utf-8",
        b"one\ntwo\n",
    )
    of_source = await packerd.get(f"/build/responses/{request_id}/0/stages/GitClone?follow=true")
    assert giturl in of_source.text


async def test_long_log_is_shown_by_its_end(packerd: Packerd, giturl: str):
    request_id = await packerd.build(giturl)
    agent = await packerd.agent(request_id)
    await agent.begin("RunPacker")
    lines = b"".join(b"line %07d\n" % number for number in range(100_000))
    await agent.agent.push(io.BytesIO(lines))
    await agent.end("RunPacker")
    await agent.agent.end()
    await packerd.until_over(request_id)
    path = f"/build/responses/{request_id}/0/stages/RunPacker"
    first, *rest = (await packerd.get(path)).json["log"].splitlines(keepends=True)
    assert str(len(lines)) in first
    assert f"{path}?follow=true" in first
    assert "".join(rest).encode() == lines[-len("".join(rest)) :]
    assert 1024 * 1024 - 100 < len("".join(rest)) <= 1024 * 1024
    assert (await packerd.get(f"{path}?follow=true")).body == lines


@pytest.mark.slow
async def test_builds_of_one_branch_run_in_order_and_of_two_in_parallel(packerd: Packerd, giturl: str, work: Work):
    work.commit({"a": "b"}, "other")
    first, second, other = [await packerd.build(giturl, branch=branch) for branch in ("main", "main", "other")]
    await packerd.agent(first)
    await packerd.agent(other)
    assert (await packerd.response(second))["status"] in {"pending", "running"}
    apps = {run: (await packerd.shuttle.get(f"/-/state/builds/{run}")).json["app_id"] for run in (first, second, other)}
    assert apps[first] == apps[second] != apps[other]
    assert apps[first].startswith(f"packer-{work.served.stem}-")


async def test_request_is_run_once_more_after_its_end(packerd: Packerd, giturl: str):
    request_id = await packerd.build(giturl, buildvars=[{"key": "api_token", "value": "token-0000001"}])
    again = f"/build/queue/{request_id}"
    assert (await packerd.ask("POST", again)).status == 409
    assert (await packerd.ask("DELETE", again)).json == {"status": "OK"}
    await packerd.until_over(request_id)
    stopped = await packerd.ask("DELETE", again)
    assert (stopped.status, stopped.json["code"]) == (422, 422)
    answer = await packerd.ask("POST", again)
    assert (answer.status, answer.json[0]["href"]) == (202, again)
    responses = (await packerd.get(again)).json["responses"]
    assert [responses[0], len(responses)] == [request_id, 2]
    second = await packerd.response(request_id, 1)
    assert (second["id"], second["buildrequestid"]) == (responses[1], request_id)
    agent = await agent_of_uuid(packerd.shuttle, second["id"])
    assert b"api_token=token-0000001" in (await agent.files("environment")).values()


async def test_artifacts_are_links(packerd: Packerd, giturl: str):
    request_id = await packerd.build(giturl)
    agent = await packerd.agent(request_id)
    for kind, path in (("docker-import", "sha256:" + "a" * 64), ("docker-tag", "registry.example.com/org/role:0.21")):
        body = {"artifact_type": kind, "artifact_path": path, "is_final": True}
        posted = await packerd.shuttle.post(f"/-/state/builds/{request_id}/artifacts", body)
        assert posted.status == 201, posted.body
    put = await agent.agent.ask("PUT", "artifacts/out/a.txt", data=b"made")
    assert put.status in {200, 201}, put.body
    await agent.agent.end()
    over = await packerd.until_over(request_id)
    assert over["images"] == ["sha256:" + "a" * 64]
    hrefs = [link["href"] for link in over["artifacts"]]
    assert hrefs[0] == "registry.example.com/org/role:0.21"
    assert (await packerd.shuttle.get(hrefs[1].removeprefix(packerd.shuttle.url))).body == b"made"


async def test_expected_duration_is_that_of_earlier_builds(packerd: Packerd, giturl: str):
    first = await packerd.build(giturl)
    assert "eta" not in await packerd.response(first)
    agent = await packerd.agent(first)
    await agent.agent.end()
    await packerd.until_over(first)

    def took_a_day(tx: Tx) -> None:
        build = find_build(tx, first)
        assert build is not None
        assert build.staging_at is not None
        finished_at = build.staging_at + timedelta(days=1)
        tx.execute(builds.update().where(builds.c.build_uuid == first).values(finished_at=finished_at))

    await packerd.shuttle.services.database.run(took_a_day)
    second = await packerd.response(await packerd.build(giturl))
    assert 86_400 - 60 <= second["eta"] <= 86_400


async def test_passwords_are_in_no_answer(packerd: Packerd, giturl: str):
    secrets = ("hunter-2-hunter", "pass-of-git-0001")
    variables = [{"key": "docker_repo_password", "value": secrets[0]}]
    with_password = giturl.replace("//", f"//reader:{secrets[1]}@")
    request_id = await packerd.build(with_password, buildvars=variables)
    agent = await packerd.agent(request_id)
    await agent.stage("RunPacker", f"login with {secrets[0]} at {with_password}\n".encode())
    await agent.agent.end()
    over = await packerd.until_over(request_id)
    assert "login with [secret]" in over["buildstages"][-1]["log"]
    shown = (await packerd.get(f"/build/queue/{request_id}")).json
    assert shown["giturl"] == giturl
    build = await packerd.shuttle.build(agent.agent.path)
    assert [each for each in secrets if each in str((over, shown, build))] == []
