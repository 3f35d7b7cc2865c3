"""Status and headers as recorded: names, bodies, logs by offset, deletion."""

import gzip
from pathlib import Path

import aiohttp
import pytest

from jenkins_emulator import EmulatedJenkins
from tests.unit.jenkins_emulator.conftest import Start
from tests.unit.jenkins_emulator.emulator_caller import XML, Caller, config


@pytest.mark.parametrize(
    ("query", "headers", "error"),
    [
        ("?name=j", XML, "A job already exists with the name  j"),
        ("?name=J", XML, "A job already exists with the name  J"),
        ("?name=a%2Fb", XML, "/  is an unsafe character"),
        ("?name=a%3Fb*", XML, "?  is an unsafe character"),
        ("?name=", XML, "No name is specified"),
        ("", XML, "Query parameter 'name' is required"),
        ("?name=..", XML, "..  is not an allowed name"),
        ("?name=new", {"Content-Type": "application/json"}, "No mode given"),
    ],
)
async def test_invalid_names_and_item_types_are_refused(
    caller: Caller, query: str, headers: dict[str, str], error: str
) -> None:
    await caller.create("j")
    answer = await caller.post(f"/createItem{query}", data=config(), headers=headers)
    assert (answer.status, answer.headers["X-Error"]) == (400, error)


async def test_body_without_content_type_is_refused(caller: Caller) -> None:
    options = {"data": config(), "skip_auto_headers": ["Content-Type"]}
    answer = await caller.post("/createItem?name=new", **options)
    assert (answer.status, answer.headers["X-Error"]) == (400, "No Content-Type header set")


@pytest.mark.parametrize(
    "body", [b"<flow-definition><x>", b"<foo/>", b"", b"<!DOCTYPE x [<!ENTITY a 'b'>]><foo>&a;</foo>"]
)
async def test_invalid_config_is_answered_500_without_x_error(caller: Caller, body: bytes) -> None:
    await caller.create("j")
    for path in ("/createItem?name=new", "/job/j/config.xml"):
        answer = await caller.post(path, data=body, headers=XML)
        assert answer.status == 500
        assert "X-Error" not in answer.headers
    assert (await caller.get("/job/new/api/json")).status == 404


async def test_config_is_returned_as_xml_1_1(caller: Caller) -> None:
    await caller.create("sp%20%C3%A9", "steps:echo '<&> \u017e\U0001f600'")
    got = await caller.get("/job/SP%20%C3%A9/config.xml")
    assert got.headers["Content-Type"] == "application/xml"
    assert got.text.startswith('<?xml version="1.1" encoding="UTF-8"?><flow-definition>')
    assert "echo '&lt;&amp;&gt; \u017e\U0001f600'" in got.text
    assert (await caller.post("/job/sp%20%C3%A9/config.xml", data=got.text.encode(), headers=XML)).status == 200
    shown = (await caller.get("/job/SP%20%C3%A9/api/json")).json
    assert shown["name"] == "sp \u00e9"
    assert shown["url"] == f"{caller.url}/job/SP%20%C3%A9/"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/createItem?name=x", 405),
        ("GET", "/job/j/buildWithParameters", 405),
        ("GET", "/job/j/doDelete", 405),
        ("GET", "/job/j/1/stop", 405),
        ("GET", "/queue/cancelItem?id=1", 405),
        ("POST", "/job/nope/build", 404),
        ("GET", "/job/nope/api/json", 404),
        ("GET", "/job/nope/config.xml", 404),
        ("POST", "/job/nope/1/stop", 404),
        ("POST", "/job/j/99/stop", 404),
        ("GET", "/job/j/99/logText/progressiveText", 404),
        ("GET", "/job/j/1/logText/", 404),
        ("GET", "/job/j/1/wfapi/describe", 404),
        ("GET", "/nope/api/json", 404),
        ("GET", "/queue/item/999/api/json", 404),
        ("GET", "/queue/item/abc/api/json", 500),
        ("POST", "/queue/cancelItem?id=999", 404),
        ("POST", "/queue/cancelItem", 404),
        ("POST", "/queue/cancelItem?id=1", 500),
        ("POST", "/job/j/buildWithParameters", 400),
        ("POST", "/job/p/build", 400),
        ("POST", "/job/p/buildWithParameters?delay=abc", 500),
        ("POST", "/job/off/build", 409),
        ("POST", "/job/j/1/stop", 302),
        ("POST", "/job/j/1/term", 302),
        ("POST", "/job/j/1/kill", 302),
        ("GET", "/job/j/1/", 200),
        ("GET", "/job/j/1/api/json?tree=a[", 500),
    ],
)
async def test_each_route_answers_with_the_status_of_jenkins(
    caller: Caller, method: str, path: str, status: int
) -> None:
    await caller.create("j", "steps:echo 'x'")
    await caller.create("p", "steps:echo 'x'", parameters=("P",))
    await caller.create("off", "steps:echo 'x'")
    assert (await caller.post("/job/off/disable")).status == 302
    await caller.trigger("j")
    await caller.ended("j")
    answer = await caller.request(method, path)
    assert answer.status == status
    assert "json" not in answer.headers.get("Content-Type", "")


@pytest.mark.parametrize(
    ("method", "path", "carries"),
    [
        ("GET", "/api/json", True),
        ("GET", "/job/j/1/api/json", True),
        ("GET", "/job/j/doDelete", True),
        ("GET", "/queue/item/abc/api/json", True),
        ("POST", "/queue/cancelItem?id=999", True),
        ("GET", "/job/nope/api/json", True),
        ("GET", "/queue/item/999/api/json", True),
        ("DELETE", "/job/nope/", False),
        ("GET", "/job/j/1/logText/progressiveText", False),
        ("POST", "/job/j/1/stop", False),
        ("POST", "/job/j/build", False),
        ("DELETE", "/job/j/", False),
    ],
)
async def test_responses_with_and_without_x_jenkins(caller: Caller, method: str, path: str, carries: bool) -> None:
    await caller.create("j", "steps:echo 'x'")
    await caller.trigger("j")
    await caller.ended("j")
    assert ("X-Jenkins" in (await caller.request(method, path)).headers) is carries


async def test_log_is_read_by_raw_offsets(start: Start, session: aiohttp.ClientSession, tmp_path: Path) -> None:
    caller = Caller(session, (await start(tmp_path / "old", generation="2.263")).url)
    await caller.create("j", "steps:echo 'caf\\u00e9 \\u001b[31mred\\u001b[0m'")
    await caller.trigger("j")
    await caller.ended("j")
    path = "/job/j/1/logText/progressiveText"
    whole = await caller.get(path)
    size = int(whole.headers["X-Text-Size"])
    assert "X-More-Data" not in whole.headers
    assert "X-Jenkins" not in whole.headers
    assert whole.text.replace("\r\n", "\n") == await caller.console("j")
    assert "\n" not in whole.text.replace("\r\n", "")
    assert size > len(whole.text.encode()) - whole.text.count("\r"), "hidden notes count"
    at_end = await caller.get(f"{path}?start={size}")
    assert (at_end.status, at_end.text, at_end.headers["X-Text-Size"]) == (200, "", str(size))
    assert (await caller.get(f"{path}?start={size + 1000}")).text == whole.text
    inside_a_note = await caller.get(f"{path}?start=40")
    assert "\x1b[0madmin\r\n" in inside_a_note.text
    assert (await caller.post(path, data={"start": "40"})).text == inside_a_note.text
    for bad in ("-5", "abc"):
        assert (await caller.get(f"{path}?start={bad}")).status == 500
    head = await caller.request("HEAD", path)
    assert (head.headers["X-Text-Size"], head.headers["Content-Length"]) == (str(size), str(len(whole.text.encode())))


async def test_log_is_sent_compressed(caller: Caller, session: aiohttp.ClientSession) -> None:
    await caller.create("j", "steps:sh 'seq 1 60000'")
    await caller.trigger("j")
    await caller.ended("j")
    async with aiohttp.ClientSession(auto_decompress=False) as raw:
        headers = {**caller.headers, "Accept-Encoding": "gzip"}
        async with raw.get(f"{caller.url}/job/j/1/logText/progressiveText", headers=headers) as response:
            assert response.headers["Content-Encoding"] == "gzip"
            body = gzip.decompress(await response.read())
    plain = await caller.get("/job/j/1/logText/progressiveText")
    assert body.decode() == plain.text
    assert plain.text.count("\r\n") > 60000


async def test_addresses_have_the_host_of_the_request(caller: Caller) -> None:
    await caller.create("j", "steps:echo 'x'")
    answer = await caller.post("/job/j/build", headers={"Host": "ci.example.com:8443"})
    assert answer.headers["Location"].startswith("http://ci.example.com:8443/queue/item/")
    proxied = {"X-Forwarded-Host": "ci.example.com", "X-Forwarded-Proto": "https", "X-Forwarded-Port": "443"}
    shown = (await caller.get("/job/j/api/json?tree=url", headers=proxied)).json
    assert shown["url"] == "https://ci.example.com/job/j/"


async def test_parameters_are_read_from_form_query_and_json(caller: Caller) -> None:
    await caller.create("j", "steps:sh '''#!/bin/sh\necho \"[$P]\"'''", parameters=("P",))
    value = "\u017elu\u0165\nline2 \"q\" 'q' & <b> % +"
    await caller.post("/job/j/buildWithParameters?delay=0sec", data={"P": value})
    await caller.post("/job/j/buildWithParameters?delay=0sec", json={"P": "ignored"})
    listed = await caller.post(
        "/job/j/build?delay=0sec", data={"json": '{"parameter":[{"name":"P","value":"listed"}]}'}
    )
    assert (listed.status, listed.headers["Location"]) == (201, f"{caller.url}/job/j/")
    for number, shown in ((1, value), (2, "d"), (3, "listed")):
        assert await caller.ended("j", number) == "SUCCESS"
        assert f"[{shown}]\n" in await caller.console("j", number)


async def test_jobs_in_folders_are_created_and_built(caller: Caller) -> None:
    mode = "com.cloudbees.hudson.plugins.folder.Folder"
    made = await caller.post(f"/createItem?name=fold&mode={mode}", data={})
    assert (made.status, made.headers["Location"]) == (302, "/job/fold/configure")
    answer = await caller.post("/job/fold/createItem?name=in", data=config("steps:sh 'echo $JOB_NAME'"), headers=XML)
    assert answer.status == 200
    assert (await caller.post("/createItem?name=fold/in2", data=config(), headers=XML)).status == 400
    queued = await caller.post("/job/fold/job/in/build?delay=0sec")
    assert queued.status == 201
    assert await caller.ended("fold/job/in") == "SUCCESS"
    assert "\nfold/in\n" in await caller.console("fold/job/in")
    shown = (await caller.get("/api/json?tree=jobs[name,jobs[name,url]]")).json
    assert shown["jobs"][0]["jobs"] == [
        {
            "_class": "org.jenkinsci.plugins.workflow.job.WorkflowJob",
            "name": "in",
            "url": f"{caller.url}/job/fold/job/in/",
        }
    ]
    assert (await caller.request("DELETE", "/job/fold/")).status == 204
    assert (await caller.get("/job/fold/job/in/api/json")).status == 404


async def test_depth_that_is_no_decimal_number_is_ignored(caller: Caller) -> None:
    await caller.create("j", "steps:echo 'x'")
    assert (await caller.get("/job/j/api/json?depth=%C2%B2")).json["name"] == "j"


async def test_builds_are_described_discarded_and_deleted(caller: Caller) -> None:
    keep = "<jenkins.model.BuildDiscarderProperty><strategy><numToKeep>2</numToKeep></strategy>"
    await caller.create("j", "steps:echo 'x'", properties=f"{keep}</jenkins.model.BuildDiscarderProperty>")
    for number in (1, 2, 3):
        await caller.trigger("j")
        assert await caller.ended("j", number) == "SUCCESS"
    assert (await caller.get("/job/j/1/api/json")).status == 404
    described = await caller.post("/job/j/3/submitDescription", data={"description": "Build #3 - <b>"})
    assert (described.status, described.headers["Location"]) == (302, "/job/j/3/")
    assert (await caller.get("/job/j/lastBuild/api/json?tree=number,description")).json[
        "description"
    ] == "Build #3 - <b>"
    assert (await caller.post("/job/j/2/doDelete")).headers["Location"] == "/job/j/"
    shown = (await caller.get("/job/j/api/json?tree=builds[number],nextBuildNumber,color")).json
    assert ([build["number"] for build in shown["builds"]], shown["nextBuildNumber"], shown["color"]) == (
        [3],
        4,
        "blue",
    )


async def test_job_is_copied_and_its_name_checked(caller: Caller) -> None:
    await caller.create("one", "steps:echo 'x'")
    copied = await caller.post("/createItem?name=two&mode=copy&from=one", skip_auto_headers=["Content-Type"])
    assert (copied.status, copied.headers["Location"]) == (302, "/job/two/configure")
    assert "echo 'x'" in (await caller.get("/job/two/config.xml")).text
    assert "A job already exists" in (await caller.get("/checkJobName?value=TWO")).text
    assert "unsafe character" in (await caller.get("/checkJobName?value=a*")).text
    assert (await caller.post("/createItem?name=three&mode=copy&from=none")).status == 400


async def test_linter_reports_errors(caller: Caller) -> None:
    good = "pipeline {\n agent any\n stages {\n stage('a') {\n steps {\n sh 'x'\n}\n}\n}\n}"
    answer = await caller.post("/pipeline-model-converter/validate", data={"jenkinsfile": good})
    assert (answer.status, answer.text) == (200, "Jenkinsfile successfully validated.\n")
    unknown = good.replace("sh 'x'", "nope 'x'")
    answer = await caller.post("/pipeline-model-converter/validate", data={"jenkinsfile": unknown})
    assert answer.text == "Jenkinsfile successfully validated.\n", (
        "the linter accepts an unknown step, only a build fails"
    )
    answer = await caller.post("/pipeline-model-converter/validate", data={"jenkinsfile": good[:-1]})
    assert answer.status == 200
    assert answer.text.startswith("Errors encountered validating Jenkinsfile:\nWorkflowScript: 10: ")


async def test_requests_get_503_while_the_home_is_read(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    jenkins = EmulatedJenkins(tmp_path / "late", user="admin", token="tok")
    await jenkins.listen()
    caller = Caller(session, jenkins.url)
    starting = await caller.get("/job/j/1/api/json")
    assert starting.status == 503
    assert "X-Jenkins" not in starting.headers
    jenkins.load()
    assert (await caller.get("/whoAmI/api/json")).json["name"] == "admin"
    assert "for demos and tests only" in (await caller.get("/")).text
    await jenkins.close()
    await jenkins.close()


async def test_urls_of_items_are_encoded(caller: Caller) -> None:
    """As in Jenkins' code; no such URL was recorded."""
    made = await caller.post("/createItem?name=team%20%C3%A9&mode=com.cloudbees.hudson.plugins.folder.Folder")
    assert made.headers["Location"] == "/job/team%20%C3%A9/configure"
    path = "/job/team%20%C3%A9/job/a%20(b)/"
    created = await caller.post("/job/team%20%C3%A9/createItem?name=a%20(b)", data=config(), headers=XML)
    assert created.status == 200
    assert (await caller.get(f"{path}api/json")).json["url"] == caller.url + path
    assert (await caller.post(f"{path}disable")).headers["Location"] == path
