"""Access and jobs through the client, against the emulated Jenkins and any other that JENKINS_URL names."""

import asyncio

import pytest

from shuttle.errors import (
    ForeignJobError,
    JenkinsNotFoundError,
    JenkinsRefusedError,
    JenkinsUnavailableError,
    JobNotReadyError,
)
from shuttle.jenkins import StopCommand
from shuttle.jenkins.client import JenkinsClient
from tests.contract.jenkins.job_xml import job_xml, sh, step
from tests.contract.jenkins.our_builds import DIGEST, OTHER_DIGEST, ended, new_build, ours, started, text, triggered


async def test_check_succeeds(jenkins):
    await jenkins.check()


@pytest.mark.needs("token")
async def test_check_reports_a_wrong_token_after_ten_seconds(server):
    user, _token = server.credentials["token"]
    seconds = [0.0]
    client = JenkinsClient(server.url.replace("//", f"//{user}:wrong@"), clock=lambda: seconds[0])
    with pytest.raises(JenkinsUnavailableError, match="still starting"):
        await client.check()
    seconds[0] += 10
    with pytest.raises(JenkinsRefusedError, match="JENKINS_URL"):
        await client.check()
    await client.close()


@pytest.mark.needs("reader")
async def test_refused_action_names_the_missing_permission(server, jenkins, job):
    await jenkins.apply_job(job, ours(), DIGEST)
    parameters, waits = new_build(), new_build()
    number = await started(server, jenkins, job, parameters)
    waiting = await jenkins.trigger(job, waits)
    user, token = server.credentials["reader"]
    reader = JenkinsClient(server.url.replace("//", f"//{user}:{token}@"))
    with pytest.raises(JenkinsRefusedError, match="Job/Create"):
        await reader.check()
    with pytest.raises(JenkinsRefusedError, match="Job/Build"):
        await reader.trigger(job, parameters)
    with pytest.raises(JenkinsRefusedError, match="Job/Cancel"):
        await reader.stop(job, number, StopCommand.STOP)
    with pytest.raises(JenkinsRefusedError, match="Job/Create"):
        await reader.apply_job(f"{job}-2", ours(), DIGEST)
    with pytest.raises(JenkinsRefusedError, match="Job/Configure"):
        await reader.apply_job(job, ours(digest=OTHER_DIGEST), OTHER_DIGEST)
    with pytest.raises(JenkinsRefusedError, match="Job/Delete"):
        await reader.delete_job(job)
    with pytest.raises(JenkinsRefusedError):
        await reader.cancel(waiting, waits["BUILD_UUID"])
    assert (await reader.build(job, number)).building
    await reader.close()


@pytest.mark.needs("open")
async def test_jenkins_without_access_control_is_supported(server, jenkins, job):
    await jenkins.check()
    await jenkins.apply_job(job, ours("echo hi"), DIGEST)
    _, number = await triggered(server, jenkins, job, new_build())
    assert (await ended(server, jenkins, job, number)).result == "SUCCESS"
    await jenkins.delete_job(job)


@pytest.mark.needs("password")
async def test_password_instead_of_a_token_is_supported(server, job):
    user, password = server.credentials["password"]
    client = JenkinsClient(server.url.replace("//", f"//{user}:{password}@"))
    await client.apply_job(job, ours("echo hi"), DIGEST)
    _, number = await triggered(server, client, job, new_build())
    assert (await ended(server, client, job, number)).result == "SUCCESS"
    await client.close()


async def test_job_is_created_updated_if_different_and_deleted(server, jenkins, job):
    await jenkins.apply_job(job, ours("echo one"), DIGEST)
    _, number = await triggered(server, jenkins, job, new_build())
    await ended(server, jenkins, job, number)
    assert b"one\n" in await text(jenkins, job, number)

    await jenkins.apply_job(job, ours("echo two", OTHER_DIGEST), OTHER_DIGEST)
    _, number = await triggered(server, jenkins, job, new_build())
    await ended(server, jenkins, job, number)
    assert b"two\n" in await text(jenkins, job, number)

    await jenkins.delete_job(job)
    await jenkins.delete_job(job)
    with pytest.raises(JenkinsNotFoundError):
        await jenkins.trigger(job, new_build())
    with pytest.raises(JenkinsNotFoundError):
        await jenkins.build(job, number)
    with pytest.raises(JenkinsNotFoundError):
        await text(jenkins, job, number)


@pytest.mark.needs("token")
async def test_job_with_an_edited_script_is_repaired(server, jenkins, job, replay):
    await jenkins.apply_job(job, ours("echo ours"), DIGEST)
    path, xml = f"/job/{job}/config.xml", {"Content-Type": "application/xml"}
    assert (await replay.ask("POST", path, data=ours("echo theirs"), headers=xml)).status == 200
    await jenkins.apply_job(job, ours("echo ours"), DIGEST)
    _, number = await triggered(server, jenkins, job, new_build())
    await ended(server, jenkins, job, number)
    assert b"ours\n" in await text(jenkins, job, number)


async def test_changes_by_jenkins_after_a_build_are_not_an_edit(server, jenkins, job, capsys):
    await jenkins.apply_job(job, ours("echo hi"), DIGEST)
    _, number = await triggered(server, jenkins, job, new_build())
    await ended(server, jenkins, job, number)
    await jenkins.apply_job(job, ours("echo hi"), DIGEST)
    assert "edited" not in capsys.readouterr().out


async def test_simultaneous_creation_of_a_job_succeeds(jenkins, job):
    await asyncio.gather(*(jenkins.apply_job(job, ours(), DIGEST) for _ in range(8)))


async def test_folders_are_created_with_their_first_job(server, jenkins):
    folder = server.prefix + "folder"
    jobs = [f"{folder}/inner/app-{number}" for number in range(3)]
    await asyncio.gather(*(jenkins.apply_job(job, ours("echo hi"), DIGEST) for job in jobs))
    _, number = await triggered(server, jenkins, jobs[0], new_build())
    assert (await ended(server, jenkins, jobs[0], number)).result == "SUCCESS"
    await jenkins.delete_job(jobs[0])


@pytest.mark.needs("token")
async def test_foreign_job_is_not_changed(jenkins, job, replay):
    foreign = job_xml(step(sh("echo theirs")))
    created = await replay.ask(
        "POST", f"/createItem?name={job}", data=foreign, headers={"Content-Type": "application/xml"}
    )
    assert created.status == 200
    with pytest.raises(ForeignJobError):
        await jenkins.apply_job(job, ours(), DIGEST)
    with pytest.raises(ForeignJobError):
        await jenkins.delete_job(job)
    with pytest.raises(ForeignJobError):
        await jenkins.apply_job(job.upper(), ours(), DIGEST)


@pytest.mark.needs("token")
async def test_job_without_parameters_is_not_ready_until_applied_again(jenkins, job, replay):
    await jenkins.apply_job(job, ours(), DIGEST)
    edited = await replay.ask(
        "POST",
        f"/job/{job}/config.xml",
        data=ours(parameters=False),
        headers={"Content-Type": "application/xml"},
    )
    assert edited.status == 200
    with pytest.raises(JobNotReadyError, match="parameters"):
        await jenkins.trigger(job, new_build())
    await jenkins.apply_job(job, ours(), DIGEST)
    assert await jenkins.trigger(job, new_build())


@pytest.mark.needs("token")
async def test_disabled_job_is_not_ready_until_applied_again(jenkins, job, replay):
    await jenkins.apply_job(job, ours(), DIGEST)
    await replay.ask("POST", f"/job/{job}/disable")
    with pytest.raises(JobNotReadyError, match="disabled"):
        await jenkins.trigger(job, new_build())
    await jenkins.apply_job(job, ours(), DIGEST)
    assert await jenkins.trigger(job, new_build())


@pytest.mark.needs("open", "restart")
async def test_crumbs_survive_a_restart_of_jenkins(server, jenkins, job):
    await jenkins.apply_job(job, ours("echo hi"), DIGEST)
    await jenkins.trigger(job, new_build())
    await server.restart()
    server.load()
    await jenkins.trigger(job, new_build())
    await jenkins.apply_job(job, ours("echo two", OTHER_DIGEST), OTHER_DIGEST)
