"""A new pipeline whose author has thought only of running the user's program: it is protected all the same."""

import asyncio
from pathlib import Path

import pytest

from jenkins_pipelines import shell_scripts
from jenkins_pipelines.environment import AgentEnvironment
from jenkins_pipelines.fragment import combine
from jenkins_pipelines.fragments.supervised import supervised
from jenkins_pipelines.models import Pipeline
from tests.support.agent_api import BUILD_UUID, AgentApi, source_archive
from tests.unit.pipelines.agent import SHELLS, Agent, is_running, long_time
from tests.unit.pipelines.namespaces import needs_namespaces

OWN_TEXT = shell_scripts.text


def pipeline(script: str, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    monkeypatch.setattr(
        shell_scripts, "text", lambda name, *suffix: script if name == "forgetful" else OWN_TEXT(name, *suffix)
    )
    return combine("forgetful", "", supervised("forgetful"))


async def run(agent: Agent, forgetful: Pipeline, build: str, status: int = 0) -> AgentApi:
    destination = "registry.example/app:1"
    wanted = AgentEnvironment(
        app_id="app",
        build_id="1",
        build_uuid=BUILD_UUID,
        arguments={"MINE": "1"},
        destinations=[destination],
        registries={destination: ("user", "s3cr3t")},
    )
    agent.environment = {"FROM_JENKINS": "1", "unprotected": "yes", "trying": "yes"}
    async with AgentApi(wanted, source_archive({"build.sh": f"#!/bin/sh\n{build}"})) as api:
        agent.url = api.url
        ended = await agent.run(forgetful)
    assert (ended.status, api.ends) == (status, {"main": status}), ended.console + api.log
    return api


async def test_users_program_gets_the_clean_environment(each_agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    api = await run(each_agent, pipeline('\nrun "$sources" ./build.sh\n', monkeypatch), "cat /proc/$$/environ\n")
    names = {pair.partition("=")[0] for pair in api.log.split("\0") if pair}
    own = {"PATH", "HOME", "LANG", "CI", "SHUTTLE_APP_ID", "SHUTTLE_BUILD_ID", "SHUTTLE_RUN", "MINE"}
    assert names == own


async def test_users_program_finds_no_credentials(each_agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    search = (
        f"ls {each_agent.home}/workspace@*/environment; ls {each_agent.home}/workspace@*/environment/destinations\n:\n"
    )
    api = await run(each_agent, pipeline('\nrun "$sources" ./build.sh\n', monkeypatch), search)
    assert "build_id\n" in api.log
    assert "destinations\n" not in api.log
    calls = [path.rsplit("/", 1)[1].partition("?")[0] for _, path, _ in api.calls]
    assert calls.index("begin") < calls.index("log"), "the setup token is void"


# The unshare of busybox cannot make such a namespace.
@pytest.mark.parametrize("shell", [shell for shell in SHELLS if shell != "busybox"])
async def test_users_program_leaves_no_process_behind(
    tmp_path: Path, shell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_namespaces()
    agent = Agent(tmp_path, shell)
    agent.give("unshare")
    forever = long_time()
    build = f"/usr/bin/env -i /usr/bin/setsid /usr/bin/sleep {forever} & sleep 0.1\n"
    await run(agent, pipeline('\nrun "$sources" ./build.sh\n', monkeypatch), build)
    assert not is_running(forever)


async def test_next_program_is_protected_after_an_unprotected_one(
    each_agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = '\nrun_unprotected "$sources" ./build.sh\nrun "$sources" ./build.sh\n'
    api = await run(each_agent, pipeline(script, monkeypatch), "echo from Jenkins: $FROM_JENKINS.\n")
    assert api.log == "from Jenkins: 1.\nfrom Jenkins: .\n"


WAYS_TO_RUN = {
    "run": 'run "$sources" ./build.sh',
    "unprotected": 'run_unprotected "$sources" ./build.sh',
    "with credentials": 'with_credentials "{}" ./source/build.sh',
    "after a program that may fail": 'try run "$sources" ./build.sh || :\nrun "$sources" ./build.sh',
}


@pytest.mark.parametrize("way", WAYS_TO_RUN)
async def test_program_that_fails_ends_the_build(each_agent: Agent, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    script = f"{OWN_TEXT('credentials')}\n{WAYS_TO_RUN[way]}\nsay 'The script continues.'\n"
    api = await run(each_agent, pipeline(script, monkeypatch), "exit 3\n", status=3)
    message = "build.sh ended with exit status 3."
    assert api.log == f"-----> {message}\n"
    assert api.reports["failure"] == {"id": "failure", "state": "failed", "reason": "build_failed", "message": message}


@pytest.mark.parametrize("way", ["run", "unprotected", "with credentials"])
async def test_script_may_handle_the_failure_of_a_program(
    each_agent: Agent, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    script = f'{OWN_TEXT("credentials")}\ntry {WAYS_TO_RUN[way]} || say "It was $? and $ended."\n'
    api = await run(each_agent, pipeline(script, monkeypatch), "exit 3\n")
    assert api.log == "-----> It was 3 and 3.\n"
    assert api.reports == {}


@pytest.mark.slow
async def test_program_in_a_folder_that_does_not_exist_fails_at_once(
    each_agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with asyncio.timeout(30):
        api = await run(each_agent, pipeline('\nrun "$sources/no" ./build.sh\n', monkeypatch), "", status=126)
    assert api.log == (
        "-----> The build's process could not be started on the agent.\n-----> build.sh ended with exit status 126.\n"
    )
