"""Builds as a user sees them: results, post conditions, stops, time limits, the environment of `sh`."""

import asyncio
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from tests.unit.jenkins_emulator.conftest import Start
from tests.unit.jenkins_emulator.emulator_caller import Caller, until

POST = """
 post {
  always { echo 'post always' }
  success { echo 'post success' }
  failure { echo 'post failure' }
  aborted { echo 'post aborted' }
  unstable { echo 'post unstable' }
  unsuccessful { echo 'post unsuccessful' }
  cleanup { echo 'post cleanup' }
 }
"""


def script(stages: str, options: str = "") -> str:
    return f"pipeline {{\n agent any\n{options}\n stages {{\n{stages}\n }}\n{POST}}}\n"


def stage(name: str, steps: str) -> str:
    return f"stage('{name}') {{\n steps {{\n{steps}\n }}\n}}\n"


@pytest.mark.parametrize(
    ("steps", "result", "posts", "last"),
    [
        ("sh 'true'", "SUCCESS", ["always", "success", "cleanup"], "[Pipeline] End of Pipeline"),
        ("sh 'exit 3'", "FAILURE", ["always", "unsuccessful", "failure", "cleanup"],
         "ERROR: script returned exit code 3"),
        ("error 'no luck'", "FAILURE", ["always", "unsuccessful", "failure", "cleanup"], "ERROR: no luck"),
        ("unstable 'meh'", "UNSTABLE", ["always", "unsuccessful", "unstable", "cleanup"], "[Pipeline] End of Pipeline"),
        ("timeout(time: 1, unit: 'SECONDS') { sh 'sleep 30' }", "ABORTED",
         ["always", "aborted", "unsuccessful", "cleanup"], "Timeout has been exceeded"),
    ],
)  # fmt: skip
async def test_result_and_post_conditions(caller: Caller, steps: str, result: str, posts: list[str], last: str) -> None:
    await caller.create("j", script=script(stage("first", steps) + stage("second", "echo 'reached'")))
    await caller.trigger("j")
    assert await caller.ended("j") == result
    console = (await caller.console("j")).splitlines()
    assert [line.removeprefix("post ") for line in console if line.startswith("post ")] == posts
    assert [line for line in console if "ErrorId" not in line][-2:] == [last, f"Finished: {result}"]
    skipped = 'Stage "second" skipped due to earlier failure(s)'
    assert (skipped in console) is (result in ("FAILURE", "ABORTED"))
    assert ("reached" in console) is (result in ("SUCCESS", "UNSTABLE"))


async def test_stop_is_recorded_as_by_its_user_and_runs_post(caller: Caller) -> None:
    await caller.create("j", script=script(stage("a", "sh 'echo started; sleep 60'")))
    await caller.trigger("j")
    await caller.shows("+ sleep 60", "j")
    stopped = await caller.post("/job/j/1/stop")
    assert (stopped.status, stopped.headers["Location"]) == (302, "/job/j/1/")
    assert await caller.ended("j") == "ABORTED"
    lines = (await caller.console("j")).splitlines()
    at = lines.index("Sending interrupt signal to process")
    assert lines[at : at + 2] == ["Sending interrupt signal to process", "Aborted by admin"]
    assert "Terminated" in lines
    assert "script returned exit code 143" not in lines
    assert "ErrorAction$ErrorId: " in lines[-2]
    assert "post aborted" in lines
    assert lines[-1] == "Finished: ABORTED"


async def test_post_runs_after_the_time_limit_of_the_pipeline(caller: Caller) -> None:
    stages = stage("a", "sh 'sleep 30'")
    await caller.create("j", script=script(stages, "options {\n timeout(time: 1, unit: 'SECONDS')\n}"))
    await caller.trigger("j")
    assert await caller.ended("j") == "ABORTED"
    console = await caller.console("j")
    assert "Timeout set to expire in 1 sec\n" in console
    assert "Cancelling nested steps due to timeout\n" in console
    assert "post cleanup\n" in console


async def test_failing_branch_fails_the_build_after_the_others_ended(caller: Caller) -> None:
    stages = "stage('par') {\n parallel {\n" + stage("good", "sh 'echo good'") + stage("bad", "sh 'exit 4'") + "}\n}\n"
    await caller.create("j", script=script(stages))
    await caller.trigger("j")
    assert await caller.ended("j") == "FAILURE"
    console = await caller.console("j")
    assert "Failed in branch bad\n" in console
    assert "good\n" in console
    assert "ERROR: script returned exit code 4\n" in console


async def test_sh_gets_the_variables_of_jenkins_and_of_the_build(caller: Caller) -> None:
    names = "BUILD_NUMBER JOB_NAME WORKSPACE BUILD_URL JENKINS_URL S A_TOKEN X PATH"
    show = f"sh '''#!/bin/sh -e\nfor name in {names}; do echo \"$name=[$(printenv $name || true)]\"; done\npwd\n'''"
    await caller.create("j", f"steps:withEnv(['X=$HOME \"q\"', 'PATH+EXTRA=/extra']) {{\n{show}\n}}",
                        parameters=("S", "A_TOKEN"))  # fmt: skip
    await caller.trigger("j", S="ž & <b>\nline two", A_TOKEN="t0ken-value", UNKNOWN="dropped")
    assert await caller.ended("j") == "SUCCESS"
    console = await caller.console("j")
    workspace = next(line for line in console.splitlines() if line.startswith("Running on")).rpartition(" ")[2]
    for line in (
        "BUILD_NUMBER=[1]", "JOB_NAME=[j]", f"WORKSPACE=[{workspace}]", "BUILD_URL=[]", "JENKINS_URL=[]",
        "S=[ž & <b>\nline two]", "A_TOKEN=[t0ken-value]", 'X=[$HOME "q"]', "PATH=[/extra:", f"\n{workspace}\n",
    ):  # fmt: skip
        assert line in console
    assert "+ " not in console, "a script with its own interpreter is not traced"


async def test_sh_has_no_settings_of_the_shuttle_but_the_configured_address(
    start: Start, session: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHUTTLE_TOKENS", "controller:not-for-builds")
    monkeypatch.setenv("S3_SECRET_KEY", "not-for-builds")
    jenkins = await start(tmp_path / "addressed", root_url="https://ci.example.com/")
    caller = Caller(session, jenkins.url)
    await caller.create("j", "steps:sh 'env'")
    await caller.trigger("j")
    assert await caller.ended("j") == "SUCCESS"
    console = await caller.console("j")
    assert "not-for-builds" not in console
    assert "BUILD_URL=https://ci.example.com/job/j/1/\n" in console
    assert "JENKINS_URL=https://ci.example.com/\n" in console


async def test_secret_is_neither_in_the_api_nor_in_a_file(caller: Caller, tmp_path: Path) -> None:
    await caller.create("j", "steps:sh 'test ${#A_TOKEN} = 14; sleep 60'", parameters=("A_TOKEN",))
    number = await caller.trigger("j", A_TOKEN="t0ken-value-14")
    await caller.trigger("j", delay="60sec", A_TOKEN="t0ken-value-15")
    await caller.shows("+ sleep 60", "j")
    for path in ("/job/j/1/api/json", "/queue/api/json", f"/queue/item/{number}/api/json", "/job/j/api/json?depth=2"):
        assert "t0ken-value" not in (await caller.get(path)).text
    parameters = (await caller.build("j"))["actions"][0]["parameters"]
    assert parameters == [{"_class": "hudson.model.PasswordParameterValue", "name": "A_TOKEN"}]
    files = [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert len(files) > 5
    assert [path for path in files if b"t0ken-value" in path.read_bytes() and path.name not in ("log", "output")] == []
    await caller.post("/job/j/1/stop")
    await caller.ended("j")


async def test_concurrent_builds_have_their_own_workspaces(caller: Caller) -> None:
    await caller.create("j", "steps:sh 'touch mine; sleep 60'", parameters=("N",))
    for number in (1, 2):
        await caller.trigger("j", N=str(number))
        await caller.shows("+ sleep 60\n", "j", number)
    places = [
        next(line for line in (await caller.console("j", number)).splitlines() if line.startswith("Running on"))
        for number in (1, 2)
    ]
    assert places[0].endswith("/workspace/j")
    assert places[1].endswith("/workspace/j@2")
    for number in (1, 2):
        await caller.post(f"/job/j/{number}/stop")
        assert await caller.ended("j", number) == "ABORTED"


@pytest.mark.slow
async def test_stop_takes_effect_however_early_it_comes(caller: Caller) -> None:
    await caller.create("j", "steps:sh 'sleep 60'", parameters=("N",))
    for number in range(1, 21):
        item = await caller.trigger("j", N=str(number))
        await until(partial(_has_left, caller, item))
        await caller.post(f"/job/j/{number}/stop")
        assert await caller.ended("j", number) == "ABORTED"


async def _has_left(caller: Caller, item: int) -> bool:
    return (await caller.item(item)).get("executable") is not None


async def test_trivial_build_is_quick(caller: Caller) -> None:
    await caller.create("j", "steps:echo 'hi'")
    loop = asyncio.get_running_loop()
    began = loop.time()
    await caller.trigger("j")
    assert await caller.ended("j") == "SUCCESS"
    assert loop.time() - began < 10


async def test_output_is_visible_while_the_step_runs(caller: Caller) -> None:
    await caller.create("j", "steps:sh 'echo one; printf part; sleep 60'")
    await caller.trigger("j")
    await caller.shows("one\n", "j")
    answer = await caller.get("/job/j/1/logText/progressiveText?start=0")
    assert answer.headers["X-More-Data"] == "true"
    assert answer.text.endswith("\r\n")
    await caller.post("/job/j/1/stop")
    assert await caller.ended("j") == "ABORTED"
