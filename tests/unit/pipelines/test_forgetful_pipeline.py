"""A new pipeline that only runs the user's program: all that protects the build is the default."""

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


async def run(agent: Agent, forgetful: Pipeline, build: str) -> AgentApi:
    destination = "registry.example/app:1"
    wanted = AgentEnvironment(
        app_id="app",
        build_id="1",
        build_uuid=BUILD_UUID,
        arguments={"MINE": "1"},
        destinations=[destination],
        registries={destination: ("user", "s3cr3t")},
    )
    agent.environment = {"FROM_JENKINS": "1", "unprotected": "yes", "clean": "no"}
    async with AgentApi(wanted, source_archive({"build.sh": f"#!/bin/sh\n{build}"})) as api:
        agent.url = api.url
        ended = await agent.run(forgetful)
    assert (ended.status, api.ends) == (0, {"main": 0}), ended.console + api.log
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
    script = '\nrun_unprotected "$sources" ./build.sh || fail build_failed "" 1\nrun "$sources" ./build.sh\n'
    api = await run(each_agent, pipeline(script, monkeypatch), "echo from Jenkins: $FROM_JENKINS.\n")
    assert api.log == "from Jenkins: 1.\nfrom Jenkins: .\n"
