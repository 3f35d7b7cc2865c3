"""`shuttle doctor`: problems are named with what to do about them, and nothing is left behind."""

import asyncio
import io
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest
from aiohttp import web

from jenkins_emulator import EmulatedJenkins
from shuttle.build import job_name_of
from shuttle.clock import Clock
from shuttle.settings import Settings
from shuttle.store.sqlite import SqliteDatabase
from tests.support.certificates import loopback_tls
from tests.support.inprocess import Jenkins
from tests.support.kafka_broker import AUTHENTICATE, WRONG_PASSWORD, broker
from tests.support.receivers import Receiver, answering

JOB = job_name_of("shuttle-doctor")


@pytest.fixture
async def jenkins(tmp_path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[EmulatedJenkins]:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    server = EmulatedJenkins(tmp_path / "jenkins", user="u", token="t0ken", password="passw0rd", reader_token="reads")
    await server.start()
    monkeypatch.setenv("SHUTTLE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("PORT", "0")
    monkeypatch.setenv("JENKINS_URL", server.url.replace("//", "//u:t0ken@"))
    yield server
    await server.close()


async def test_success_leaves_neither_job_nor_file_behind(jenkins, run, tmp_path):
    ran = await run("doctor")
    assert ran.code == 0, ran
    assert "does not exist yet and can be made; its schema will be" in ran.out
    assert [path.name for path in tmp_path.iterdir()] == ["jenkins"]
    assert "problem" not in ran.out
    for permission in ("Job/Create is", "Job/Read and Job/Configure are", "Job/Build is", "Job/Cancel is"):
        assert f"{permission} granted" in ran.out
    for permission in ("Run/Update", "Job/Delete"):
        assert f"{permission} is granted" in ran.out
    assert "was claimed, sent its log and succeeded" in ran.out
    assert await _jobs(jenkins) == []


@pytest.mark.slow
async def test_trial_job_is_made_in_the_configured_folder(jenkins, run, monkeypatch):
    monkeypatch.setenv("SHUTTLE_JENKINS_FOLDER", "team")
    assert (await run("doctor")).code == 0
    assert await _jobs(jenkins) == ["team"]
    assert await _jobs(jenkins, "job/team/") == []


@pytest.fixture
def programs(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs on the agent's PATH, which is that of Jenkins at its start."""
    for name in ("packer", "berks"):
        program = tmp_path / name
        program.write_text('#!/bin/sh\n[ "$1" = version ] && echo "A program v1.6.6" && echo more\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


@pytest.mark.slow
async def test_agent_option_lists_the_programs_of_packer_image(programs, jenkins, run):
    ran = await run("doctor", "--agent")
    assert ran.code == 0, ran
    assert re.search(r"fine +Jenkins +the agent has packer: A program v1\.6\.6\n", ran.out), ran.out
    assert re.search(r"fine +Jenkins +the agent has berks: A program v1\.6\.6\n", ran.out)
    assert re.search(r"warning +Jenkins +the agent has no kitchen;", ran.out)
    assert (await run("doctor", "--agent", "--no-jobs")).code == 2


async def test_no_jobs_option_makes_nothing_in_jenkins(jenkins, run):
    ran = await run("doctor", "--no-jobs")
    assert ran.code == 0
    assert "granted" not in ran.out


async def test_missing_permission_is_named(jenkins, run, monkeypatch):
    monkeypatch.setenv("JENKINS_URL", jenkins.url.replace("//", "//reader:reads@"))
    ran = await run("doctor", "--json")
    assert ran.code == 1
    problems = _of("problem", ran.out)
    assert len(problems) == 1
    assert "Create" in problems[0]


async def test_wrong_credentials_are_reported_but_not_shown(jenkins, run, monkeypatch):
    monkeypatch.setenv("JENKINS_URL", jenkins.url.replace("//", "//u:wr0ng@"))
    ran = await run("doctor", "--json")
    assert ran.code == 1
    assert "JENKINS_URL" in _of("problem", ran.out)[0]
    assert "wr0ng" not in ran.out + ran.err


@pytest.mark.slow
async def test_each_controller_is_examined(jenkins, run, monkeypatch, unused_tcp_port):
    working = jenkins.url.replace("//", "//u:t0ken@")
    monkeypatch.setenv("JENKINS_URL", f"one={working},two=http://127.0.0.1:{unused_tcp_port}/")
    ran = await run("doctor")
    assert ran.code == 1
    assert re.search("Jenkins one +.*was claimed, sent its log and succeeded", ran.out), ran.out
    assert re.search("problem +Jenkins two +Jenkins is out of reach", ran.out), ran.out
    assert await _jobs(jenkins) == []


@pytest.mark.slow
async def test_machine_without_git_gives_a_warning(jenkins, run, monkeypatch, tmp_path):
    assert "git " not in (await run("doctor", "--no-jobs")).out
    monkeypatch.setenv("PATH", str(tmp_path))
    assert re.search("warning +git +is not installed", (await run("doctor", "--no-jobs")).out)


@pytest.mark.slow
async def test_password_in_jenkins_url_gives_a_warning(jenkins, run, monkeypatch):
    monkeypatch.setenv("JENKINS_URL", jenkins.url.replace("//", "//u:passw0rd@"))
    ran = await run("doctor", "--json")
    assert ran.code == 0, ran
    assert any("API token" in sentence for sentence in _of("warning", ran.out))


async def test_unreachable_jenkins_is_a_problem(jenkins, run):
    await jenkins.close()
    ran = await run("doctor", "--json")
    assert ran.code == 1
    assert "out of reach" in _of("problem", ran.out)[0]


async def test_number_of_problems_is_printed_last(jenkins, run, monkeypatch):
    monkeypatch.setenv("JENKINS_URL", jenkins.url.replace("//", "//u:wr0ng@"))
    assert (await run("doctor")).err == "shuttle: 1 problem found\n"


async def test_foreign_job_is_not_changed(jenkins, run):
    config = b"<flow-definition><definition/></flow-definition>"
    async with aiohttp.ClientSession() as session:
        headers = {"Content-Type": "text/xml", "Authorization": "Basic dTp0MGtlbg=="}
        async with session.post(f"{jenkins.url}/createItem?name={JOB}", data=config, headers=headers) as made:
            assert made.status == 200
    ran = await run("doctor", "--json")
    assert ran.code == 1
    assert "not the shuttle's" in _of("problem", ran.out)[0]
    assert await _jobs(jenkins) == [JOB]


async def test_existing_files_of_the_service_are_checked_in_place(jenkins, run, tmp_path):
    assert (await run("migrate")).code == 0
    (tmp_path / "data" / "objects").mkdir()
    ran = await run("doctor", "--no-jobs")
    assert ran.code == 0, ran
    assert f"{tmp_path}/data/shuttle.db can be written; its schema is" in ran.out
    assert f"the directory {tmp_path}/data/objects can be read and written." in ran.out


@pytest.mark.slow
async def test_terminated_doctor_removes_its_job_and_its_folder(jenkins, tmp_path, monkeypatch):
    monkeypatch.setenv("SHUTTLE_JENKINS_AGENT_LABEL", "nowhere")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    doctor = await asyncio.create_subprocess_exec(sys.executable, "-m", "shuttle", "doctor", stdout=subprocess.DEVNULL)
    async with asyncio.timeout(30):
        while not (list((tmp_path / "tmp").iterdir()) and await _jobs(jenkins)):
            await asyncio.sleep(0.05)
        doctor.terminate()
        assert await doctor.wait() == 130
    assert await _jobs(jenkins) == []
    assert list((tmp_path / "tmp").iterdir()) == []


async def test_every_invalid_setting_is_a_finding(jenkins, run, monkeypatch):
    monkeypatch.setenv("PORT", "many")
    monkeypatch.setenv("SHUTTLE_TOKENS", "s3cret")
    ran = await run("doctor", "--json")
    assert ran.code == 1
    problems = _of("problem", ran.out)
    assert [sentence.partition(":")[0] for sentence in problems] == ["PORT", "SHUTTLE_TOKENS"]
    assert "s3cret" not in ran.out + ran.err


@pytest.mark.slow
async def test_unusable_data_directory_is_a_problem(jenkins, run, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SHUTTLE_DATA_DIR", str(tmp_path / "file"))
    ran = await run("doctor", "--json")
    assert ran.code == 1
    assert any("SHUTTLE_DATA_DIR" in sentence for sentence in _of("problem", ran.out))


@pytest.mark.slow
async def test_database_of_a_running_shuttle_is_fine(jenkins, run, tmp_path):
    database = SqliteDatabase(tmp_path / "data" / "shuttle.db", Clock())
    await database.migrate()
    ran = await run("doctor")
    await database.close()
    assert ran.code == 0, ran
    assert "in use by a running shuttle" in ran.out


async def test_migrate_prints_the_revision(jenkins, run, tmp_path):
    ran = await run("migrate")
    assert ran.code == 0
    assert re.search(r"is at revision \d{4}\n", ran.out)
    assert (tmp_path / "data" / "shuttle.db").exists()


@pytest.mark.slow
async def test_agent_that_cannot_reach_the_shuttle_is_reported_with_the_address(jenkins, run, monkeypatch):
    monkeypatch.setenv("BUILD_SHUTTLE_HOST", "http://127.0.0.1:9")
    ran = await run("doctor", "--json", "--wait-seconds", "2")
    assert ran.code == 1
    [sentence] = _of("problem", ran.out)
    assert "an agent must be free, have curl and reach http://127.0.0.1:9 (BUILD_SHUTTLE_HOST)." in sentence
    assert await _jobs(jenkins) == []


@pytest.mark.slow
async def test_trial_build_uses_another_port_if_the_service_runs(jenkins, run, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as service:
        port = service.getsockname()[1]
        monkeypatch.setenv("PORT", str(port))
        monkeypatch.setenv("BUILD_SHUTTLE_HOST", f"http://127.0.0.1:{port}")
        ran = await run("doctor", "--json")
    assert ran.code == 0, ran
    [sentence] = _of("warning", ran.out)
    assert re.fullmatch(rf"port {port} is in use; instead the agent must reach http://127\.0\.0\.1:\d+\.", sentence)
    assert f":{port}." not in sentence


@pytest.fixture
async def front(jenkins, monkeypatch) -> AsyncIterator[Jenkins]:
    """The same Jenkins behind a proxy that can answer instead of it."""
    front = Jenkins(jenkins)
    await front.start()
    monkeypatch.setenv("JENKINS_URL", f"http://u:t0ken@127.0.0.1:{front.port}/")
    yield front
    await front.stop()


def refusing(*rules: tuple[str, str, str]) -> Callable[[web.Request], web.Response | None]:
    """A user without some permissions, as rules of (method, end of the path, permission)."""

    def fault(request: web.Request) -> web.Response | None:
        for method, end, permission in rules:
            if request.method == method and request.path.endswith(end):
                return web.Response(status=403, headers={"X-Required-Permission": permission})
        return None

    return fault


@pytest.mark.slow
async def test_agent_label_without_agents_is_named_with_the_reason_of_the_queue(front, jenkins, run, monkeypatch):
    item = {
        "id": 11,
        "why": "There are no nodes with the label \u2018nowhere\u2019",
        "task": {"_class": "x.ExecutorStepExecution$PlaceholderTask", "url": f"job/{JOB}/1/"},
    }
    queue = {"items": [item]}
    front.fault = lambda request: web.json_response(queue) if request.path == "/queue/api/json" else None
    monkeypatch.setenv("SHUTTLE_JENKINS_AGENT_LABEL", "nowhere")
    ran = await run("doctor", "--json", "--wait-seconds", "1")
    assert ran.code == 1
    [sentence] = _of("problem", ran.out)
    assert sentence == (
        "no agent took it within 1 s. It asks for the label nowhere (SHUTTLE_JENKINS_AGENT_LABEL);"
        f" Jenkins says: {item['why']}"
    )
    assert await _jobs(jenkins) == []


async def test_each_permission_missing_before_a_build_is_named(front, jenkins, run):
    front.fault = refusing(
        ("POST", "/config.xml", "hudson.model.Item.Configure"),
        ("POST", "/buildWithParameters", "hudson.model.Item.Build"),
        ("DELETE", "/", "hudson.model.Item.Delete"),
    )
    ran = await run("doctor", "--json")
    assert ran.code == 1
    configure, build, delete = _of("problem", ran.out)
    assert "lacks the permission Job/Configure" in configure
    assert "lacks the permission Job/Build" in build
    assert "lacks the permission Job/Delete" in delete
    assert f"The job {JOB} is left: delete it." in delete
    assert await _jobs(jenkins) == [JOB]


@pytest.mark.slow
async def test_each_missing_permission_that_needs_a_build_is_named(front, jenkins, run):
    front.fault = refusing(
        ("POST", "/stop", "hudson.model.Item.Cancel"), ("POST", "/submitDescription", "hudson.model.Run.Update")
    )
    ran = await run("doctor", "--json")
    assert ran.code == 1
    [cancel] = _of("problem", ran.out)
    *_, update = _of("warning", ran.out)
    assert "lacks the permission Job/Cancel" in cancel
    assert "lacks the permission Run/Update" in update
    assert "human_readable_info" in update
    assert await _jobs(jenkins) == []


async def test_job_left_behind_without_job_read_is_named(front, jenkins, run):
    def hide(request: web.Request) -> web.Response | None:
        return web.Response(status=404) if request.path.startswith("/job/") else None

    front.fault = hide
    ran = await run("doctor", "--json")
    assert ran.code == 1
    read, left = _of("problem", ran.out)
    assert "lacks the permission Job/Read" in read
    assert left == f"Without Job/Read the job {JOB} cannot be deleted: delete it."
    assert await _jobs(jenkins) == [JOB]


async def test_jenkins_without_declarative_pipelines_is_reported_with_the_missing_plugin(front, run):
    front.fault = lambda request: web.Response(status=500) if "name" in request.query else None
    ran = await run("doctor", "--json")
    assert ran.code == 1
    [sentence] = _of("problem", ran.out)
    assert "does it have the Pipeline plugin?" in sentence


@pytest.mark.slow
async def test_deletion_that_waits_for_a_build_is_retried(front, jenkins, run, monkeypatch):
    monkeypatch.setenv("SHUTTLE_JENKINS_AGENT_LABEL", "nowhere")
    refused = iter([web.Response(status=500)])
    front.fault = lambda request: next(refused, None) if request.method == "DELETE" else None
    ran = await run("doctor", "--json", "--wait-seconds", "0")
    assert len(_of("problem", ran.out)) == 1, ran
    assert await _jobs(jenkins) == []


def _of(verdict: str, text: str) -> list[str]:
    return [finding["sentence"] for finding in json.loads(text)["findings"] if finding["verdict"] == verdict]


async def _jobs(jenkins: EmulatedJenkins, path: str = "") -> list[str]:
    url, headers = f"{jenkins.url}/{path}api/json?tree=jobs[name]", {"Authorization": "Basic dTp0MGtlbg=="}
    async with aiohttp.ClientSession(headers=headers) as session, session.get(url) as answer:
        return [job["name"] for job in (await answer.json())["jobs"]]


async def test_unreachable_receiver_is_reported_with_the_reason(run, jenkins, tmp_path, unused_tcp_port):
    context, _ = loopback_tls(tmp_path)
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=context) as untrusted:
        port = untrusted.sockets[0].getsockname()[1]
        hooks = f"failover(http://127.0.0.1:{unused_tcp_port}/h, https://127.0.0.1:{port}/h, http://no-such.invalid/h)"
        ran = await run("doctor", "--no-jobs", "--sink", hooks)
    assert f"127.0.0.1:{unused_tcp_port} cannot be reached (Connection refused)." in ran.out
    assert f"127.0.0.1:{port} has a certificate that is not trusted here; SHUTTLE_CA_FILE" in ran.out
    assert "no-such.invalid has a host name that cannot be resolved." in ran.out


@pytest.mark.slow
async def test_sink_is_reachable_or_reported_with_the_reason(run, jenkins, tmp_path):
    async with broker() as good, broker() as wary, Receiver(answering(405)) as receiver:
        wary.answering = refuse_passwords
        failover = f"failover({good.url()}, {receiver.url})"
        ran = await run("doctor", "--no-jobs", "--sink", failover, "--sink", wary.url(userinfo="u:s3cret@"))
        assert ran.code == 1
        assert f"fine     sink         {good.bootstrap} can be reached." in ran.out
        assert f"fine     sink         127.0.0.1:{receiver.port} can be reached." in ran.out
        assert f"Kafka {wary.bootstrap} refused the user or the password (SASL PLAIN)." in ran.out
        assert "s3cret" not in ran.out + ran.err
        assert not good.appended
        assert receiver.exchanges[0].method == "HEAD"
        ran = await run("doctor", "--no-jobs", "--sink", "kafka://h")
        assert "Name a Kafka topic" in ran.out


@pytest.mark.slow
async def test_sinks_are_read_from_standard_input_or_the_environment(run, jenkins, monkeypatch):
    """Command lines are visible to every user of the machine."""
    async with Receiver(answering(405)) as one, Receiver(answering(405)) as other:
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{one.url}/t0ken\n\n  {other.url}/t0ken\n"))
        ran = await run("doctor", "--no-jobs", "--sink", "-")
        for receiver in (one, other):
            assert f"fine     sink         127.0.0.1:{receiver.port} can be reached." in ran.out
        monkeypatch.setenv("SHUTTLE_SINK", f"failover({one.url}, {other.url})")
        await run("doctor", "--no-jobs")
        assert [len(receiver.exchanges) for receiver in (one, other)] == [2, 2]
        monkeypatch.setattr("sys.stdin", io.StringIO(""))
        ran = await run("doctor", "--no-jobs", "--sink", "-")
        assert (ran.code, ran.err) == (2, "shuttle: --sink -: standard input is empty; write the URL to it.\n")


async def refuse_passwords(api: int) -> int | None:
    return WRONG_PASSWORD if api == AUTHENTICATE else None
