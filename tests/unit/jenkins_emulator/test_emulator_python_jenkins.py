"""python-jenkins gets the same results from the emulator as from a real Jenkins, including surprising ones."""

import asyncio
from collections.abc import Callable
from typing import Any

import jenkins
import pytest
import requests

from tests.unit.jenkins_emulator.emulator_caller import Caller, config

CONFIG = config("steps:sh 'echo inside; sleep 60'", parameters=("WHO",)).decode()
PLAIN = config("steps:echo 'x'").decode()


@pytest.fixture
def client(caller: Caller) -> jenkins.Jenkins:
    return jenkins.Jenkins(caller.url, "admin", "tok", timeout=10)


async def call(function: Callable[..., Any], *arguments: Any) -> Any:
    return await asyncio.to_thread(function, *arguments)


async def raises(error: type[Exception], text: str, function: Callable[..., Any], *arguments: Any) -> None:
    with pytest.raises(error) as caught:
        await call(function, *arguments)
    assert text in str(caught.value)


async def test_python_jenkins_creates_reads_and_deletes_jobs(client: jenkins.Jenkins) -> None:
    await raises(jenkins.BadHTTPException, "Error communicating with server", client.get_version)
    assert (await call(client.get_whoami))["id"] == "admin"
    assert await call(client.create_job, "pj1", CONFIG) is None
    assert [job["name"] for job in await call(client.get_jobs)] == ["pj1"]
    await raises(jenkins.JenkinsException, "job[pj1] already exists", client.create_job, "pj1", CONFIG)
    await raises(jenkins.JenkinsException, "unexpected job name pj1", client.create_job, "PJ1", CONFIG)
    await raises(jenkins.JenkinsException, "[500]", client.create_job, "bad", "<flow-definition><x>")
    await raises(requests.HTTPError, "400", client.create_job, "a?b", CONFIG)
    await raises(jenkins.JenkinsException, "folder for the job does not exist", client.create_job, "no/x", CONFIG)
    await call(client.create_folder, "fold")
    assert await call(client.create_job, "fold/in", CONFIG) is None
    assert await call(client.job_exists, "pj1") is True
    assert await call(client.job_exists, "nope") is None
    await raises(jenkins.JenkinsException, "unexpected job name", client.job_exists, "PJ1")
    await raises(jenkins.JenkinsException, "job[nope] does not exist", client.get_job_info, "nope")
    await raises(jenkins.NotFoundException, "could not be found", client.get_job_config, "nope")
    assert (await call(client.get_job_info, "pj1"))["fullName"] == "pj1"
    await raises(jenkins.NotFoundException, "could not be found", client.reconfig_job, "nope", CONFIG)
    await raises(jenkins.JenkinsException, "[500]", client.reconfig_job, "pj1", "<x")
    assert await call(client.reconfig_job, "pj1", CONFIG) is None
    assert "sleep 60" in await call(client.get_job_config, "pj1")
    assert await call(client.delete_job, "pj1") is None
    await raises(jenkins.NotFoundException, "could not be found", client.delete_job, "pj1")


async def test_python_jenkins_starts_stops_and_reads_builds(client: jenkins.Jenkins, caller: Caller) -> None:
    await call(client.create_job, "pj1", CONFIG)
    await call(client.create_job, "plain", PLAIN)
    await raises(jenkins.NotFoundException, "could not be found", client.build_job, "nope")
    await raises(requests.HTTPError, "400", client.build_job, "pj1")
    await raises(requests.HTTPError, "400", client.build_job, "plain", {"X": "1"})
    item = await call(client.build_job, "pj1", {"WHO": "\u017e & <b>", "delay": "0sec"})
    await caller.shows("inside\n", "pj1")
    assert (await call(client.get_queue_item, item))["executable"]["number"] == 1
    assert (await call(client.get_build_info, "pj1", 1))["building"] is True
    running = await call(client.get_running_builds)
    assert [(build["name"], build["number"]) for build in running] == [("pj1", 1)]
    await call(client.stop_build, "pj1", 1)
    assert await caller.ended("pj1") == "ABORTED"
    console = await call(client.get_build_console_output, "pj1", 1)
    assert console == await caller.console("pj1")
    await raises(jenkins.NotFoundException, "could not be found", client.stop_build, "pj1", 999)
    await raises(jenkins.JenkinsException, "does not exist", client.get_build_console_output, "pj1", 999)
    await raises(jenkins.JenkinsException, "does not exist", client.get_build_info, "pj1", 999)
    assert await call(client.get_build_test_report, "pj1", 1) is None


async def test_python_jenkins_reads_and_cancels_queue_items(client: jenkins.Jenkins) -> None:
    await call(client.create_job, "pj1", CONFIG)
    await raises(jenkins.JenkinsException, "does not exist", client.get_queue_item, 999)
    assert await call(client.cancel_queue, 999) is None
    item = await call(client.build_job, "pj1", {"WHO": "a", "delay": "60sec"})
    assert [entry["id"] for entry in await call(client.get_queue_info)] == [item]
    assert await call(client.cancel_queue, item) is None
    shown = await call(client.get_queue_item, item)
    assert (shown["cancelled"], shown["why"]) == (True, None)
    await raises(jenkins.JenkinsException, "[500]", client.cancel_queue, item)
    assert await call(client.get_queue_info) == []


async def test_wrong_credentials(caller: Caller) -> None:
    wrong = jenkins.Jenkins(caller.url, "admin", "wrong", timeout=10)
    await raises(jenkins.JenkinsException, "authentication failed [401]", wrong.get_job_info, "j")
    anonymous = jenkins.Jenkins(caller.url, timeout=10)
    await raises(jenkins.JenkinsException, "authentication failed [403]", anonymous.get_job_info, "j")
    reader = jenkins.Jenkins(caller.url, "reader", "look", timeout=10)
    await caller.create("j", "steps:echo 'x'")
    await raises(jenkins.JenkinsException, "authentication failed [403]", reader.build_job, "j")
