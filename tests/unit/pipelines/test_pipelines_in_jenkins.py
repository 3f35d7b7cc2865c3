"""The rendered job in Jenkins: triggered with its three parameters; its console and its result."""

from collections.abc import AsyncIterator
from pathlib import Path
from xml.etree import ElementTree

import aiohttp
import pytest

from jenkins_emulator.server import EmulatedJenkins
from jenkins_pipelines.config_xml import digest_of
from jenkins_pipelines.environment import AgentEnvironment
from tests.support.agent_api import BUILD_UUID, TOKEN, TOKENS, AgentApi, source_archive
from tests.unit.pipelines.agent import is_running, long_time
from tests.unit.pipelines.jenkins_job import AUTHORIZATION, Job, config_xml


@pytest.fixture
async def job(tmp_path: Path) -> AsyncIterator[Job]:
    jenkins = EmulatedJenkins(tmp_path / "jenkins", user="admin", token="api-token")
    await jenkins.start()
    async with aiohttp.ClientSession(headers=AUTHORIZATION) as session:
        yield Job(session, jenkins.url)
    await jenkins.close()


async def test_script_build_from_trigger_to_artifact(job: Job) -> None:
    build = '#!/bin/sh -e\necho "building $WHAT"\nmkdir dist\nprintf %s "$WHAT" >dist/result.txt\n'
    environment = AgentEnvironment(
        app_id="app", build_id="1", build_uuid=BUILD_UUID, arguments={"WHAT": '$it\'s \\ "here"'}
    )
    await job.create(config_xml("script"))
    async with AgentApi(environment, source_archive({"build.sh": build})) as api:
        parameters = {"BUILD_UUID": BUILD_UUID, "SHUTTLE_URL": api.url, "SHUTTLE_TOKEN": TOKEN}
        result, console = await job.run(1, **parameters)
        assert result == "SUCCESS", console
        assert api.artifacts == {"result.txt": b'$it\'s \\ "here"'}
        again, refused = await job.run(2, **parameters)
        assert 'building $it\'s \\ "here"\n' in api.log
    assert not any(token in console + refused for token in TOKENS)
    assert again == "FAILURE"
    assert "-----> Refused: this build was claimed by another run or has begun. Nothing was done.\n" in refused
    assert api.claims == [1]


async def test_failed_build_is_reported(job: Job) -> None:
    environment = AgentEnvironment(app_id="app", build_id="1", build_uuid=BUILD_UUID, destinations=["r.example/a:1"])
    await job.create(config_xml("docker-image"))
    async with AgentApi(environment, source_archive({"README": ""})) as api:
        result, console = await job.run(1, BUILD_UUID=BUILD_UUID, SHUTTLE_URL=api.url, SHUTTLE_TOKEN=TOKEN)
    assert result == "FAILURE", console
    assert api.reports["failure"]["reason"] == "no_dockerfile"


async def test_marker_is_still_in_the_description_after_a_build(job: Job) -> None:
    posted = config_xml("script")
    await job.create(posted)
    async with AgentApi(source=source_archive({"build.sh": ""})) as api:
        await job.run(1, BUILD_UUID=BUILD_UUID, SHUTTLE_URL=api.url, SHUTTLE_TOKEN=TOKEN)
    # Jenkins declares XML 1.1, which Python's parser does not read.
    kept = ElementTree.fromstring((await job.config()).partition(b"?>")[2])
    digest = digest_of(ElementTree.fromstring(posted).findtext("description") or "")
    assert digest is not None
    assert digest_of(kept.findtext("description") or "") == digest


async def test_stop_ends_the_user_process_and_cleans_up(job: Job, tmp_path: Path) -> None:
    ended, forever = tmp_path / "ended", long_time()
    build = f"#!/bin/sh\necho started\nsleep {forever}\necho >'{ended}'\n"
    await job.create(config_xml("script"))
    async with AgentApi(source=source_archive({"build.sh": build})) as api:
        await job.trigger(BUILD_UUID=BUILD_UUID, SHUTTLE_URL=api.url, SHUTTLE_TOKEN=TOKEN)
        await api.until(lambda: "started\n" in api.log)
        await job.stop(1)
        result, console = await job.ended(1)
        await api.until(lambda: api.ends)
    assert result == "ABORTED", console
    assert not is_running(forever)
    assert not ended.exists()
    assert api.ends == {"main": 143}
    assert api.reports["end"]["reason"] == "aborted_in_jenkins"
    assert not list((tmp_path / "jenkins").rglob("build.sh"))
