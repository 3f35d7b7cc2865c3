"""`shuttle doctor`: what is wrong is named, with what to do, and nothing stays behind."""

import asyncio
import json
import re
from collections.abc import AsyncIterator

import aiohttp
import pytest

from shuttle.embedded.jenkins import EmbeddedJenkins
from shuttle.settings import Settings
from shuttle.store.sqlite import SqliteDatabase
from tests.certificates import loopback_tls
from tests.kafka_broker import AUTHENTICATE, WRONG_PASSWORD, broker
from tests.receivers import Receiver, answering


@pytest.fixture
async def jenkins(tmp_path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[EmbeddedJenkins]:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    server = EmbeddedJenkins(tmp_path / "jenkins", user="u", token="t0ken", password="passw0rd", reader_token="reads")
    await server.start()
    monkeypatch.setenv("SHUTTLE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("BUILD_SHUTTLE_HOST", "http://127.0.0.1:9000")
    monkeypatch.setenv("JENKINS_URL", server.url.replace("//", "//u:t0ken@"))
    yield server
    await server.close()


async def test_all_is_well_and_no_job_is_left(jenkins, run):
    ran = await run("doctor")
    assert ran.code == 0, ran
    assert "problem" not in ran.out
    for permission in ("Job/Create", "Job/Configure", "Job/Build", "Job/Delete"):
        assert f"{permission} is granted" in ran.out
    assert await _jobs(jenkins) == []


async def test_jobs_are_tried_in_the_folder_of_the_setting(jenkins, run, monkeypatch):
    monkeypatch.setenv("SHUTTLE_JENKINS_FOLDER", "team")
    assert (await run("doctor")).code == 0
    assert await _jobs(jenkins) == ["team"]
    assert await _jobs(jenkins, "job/team/") == []


async def test_without_jobs_nothing_is_made(jenkins, run):
    ran = await run("doctor", "--no-jobs")
    assert ran.code == 0
    assert "granted" not in ran.out


async def test_a_missing_permission_is_named(jenkins, run, monkeypatch):
    monkeypatch.setenv("JENKINS_URL", jenkins.url.replace("//", "//reader:reads@"))
    ran = await run("doctor", "--json")
    assert ran.code == 1
    problems = _of("problem", ran.out)
    assert len(problems) == 1
    assert "Create" in problems[0]


async def test_wrong_credentials_are_named_and_not_shown(jenkins, run, monkeypatch):
    monkeypatch.setenv("JENKINS_URL", jenkins.url.replace("//", "//u:wr0ng@"))
    ran = await run("doctor", "--json")
    assert ran.code == 1
    assert "JENKINS_URL" in _of("problem", ran.out)[0]
    assert "wr0ng" not in ran.out + ran.err


async def test_a_password_is_warned_of(jenkins, run, monkeypatch):
    monkeypatch.setenv("JENKINS_URL", jenkins.url.replace("//", "//u:passw0rd@"))
    ran = await run("doctor", "--json")
    assert ran.code == 0, ran
    assert any("API token" in sentence for sentence in _of("warning", ran.out))


async def test_a_jenkins_that_is_down_is_a_problem(jenkins, run):
    await jenkins.close()
    ran = await run("doctor", "--json")
    assert ran.code == 1
    assert "out of reach" in _of("problem", ran.out)[0]


async def test_a_job_of_somebody_else_is_left_alone(jenkins, run):
    config = b"<flow-definition><definition/></flow-definition>"
    async with aiohttp.ClientSession() as session:
        headers = {"Content-Type": "text/xml", "Authorization": "Basic dTp0MGtlbg=="}
        async with session.post(f"{jenkins.url}/createItem?name=shuttle-doctor", data=config, headers=headers) as made:
            assert made.status == 200
    ran = await run("doctor", "--json")
    assert ran.code == 1
    assert "not ours" in _of("problem", ran.out)[0]
    assert await _jobs(jenkins) == ["shuttle-doctor"]


async def test_every_bad_setting_is_one_finding(jenkins, run, monkeypatch):
    monkeypatch.setenv("PORT", "many")
    monkeypatch.setenv("SHUTTLE_TOKENS", "s3cret")
    ran = await run("doctor", "--json")
    assert ran.code == 1
    problems = _of("problem", ran.out)
    assert [sentence.partition(":")[0] for sentence in problems] == ["PORT", "SHUTTLE_TOKENS"]
    assert "s3cret" not in ran.out + ran.err


async def test_a_data_directory_that_cannot_be_used_is_a_problem(jenkins, run, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SHUTTLE_DATA_DIR", str(tmp_path / "file"))
    ran = await run("doctor", "--json")
    assert ran.code == 1
    assert any("SHUTTLE_DATA_DIR" in sentence for sentence in _of("problem", ran.out))


async def test_beside_a_running_shuttle_its_database_is_fine(jenkins, run, tmp_path):
    database = SqliteDatabase(tmp_path / "data" / "shuttle.db")
    database.start()
    ran = await run("doctor")
    await database.close()
    assert ran.code == 0, ran
    assert "in use by a running shuttle" in ran.out


async def test_migrate_says_what_it_did(jenkins, run, tmp_path):
    ran = await run("migrate")
    assert ran.code == 0
    assert re.search(r"is at revision \d{4}\n", ran.out)
    assert (tmp_path / "data" / "shuttle.db").exists()


def _of(verdict: str, text: str) -> list[str]:
    return [finding["sentence"] for finding in json.loads(text)["findings"] if finding["verdict"] == verdict]


async def _jobs(jenkins: EmbeddedJenkins, path: str = "") -> list[str]:
    url, headers = f"{jenkins.url}/{path}api/json?tree=jobs[name]", {"Authorization": "Basic dTp0MGtlbg=="}
    async with aiohttp.ClientSession(headers=headers) as session, session.get(url) as answer:
        return [job["name"] for job in (await answer.json())["jobs"]]


async def test_a_receiver_that_is_not_reached_says_why_in_words(run, jenkins, tmp_path, unused_tcp_port):
    context, _ = loopback_tls(tmp_path)
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=context) as untrusted:
        port = untrusted.sockets[0].getsockname()[1]
        hooks = f"failover(http://127.0.0.1:{unused_tcp_port}/h, https://127.0.0.1:{port}/h, http://no-such.invalid/h)"
        ran = await run("doctor", "--no-jobs", "--sink", hooks)
    assert f"127.0.0.1:{unused_tcp_port} cannot be connected to (Connection refused)." in ran.out
    assert f"127.0.0.1:{port} has a certificate that is not trusted here; SHUTTLE_CA_FILE" in ran.out
    assert "no-such.invalid has a host name that cannot be resolved." in ran.out


async def test_a_sink_is_reached_or_says_why_not(run, jenkins, tmp_path):
    async with broker() as good, broker() as wary, Receiver(answering(405)) as receiver:
        wary.answering = refuse_passwords
        failover = f"failover({good.url()}, {receiver.url})"
        ran = await run("doctor", "--no-jobs", "--sink", failover, "--sink", wary.url(userinfo="u:s3cret@"))
        assert ran.code == 1
        assert f"fine     sink         {good.bootstrap} is reached." in ran.out
        assert f"fine     sink         127.0.0.1:{receiver.port} is reached." in ran.out
        assert f"Kafka {wary.bootstrap} refused the user or the password (SASL PLAIN)." in ran.out
        assert "s3cret" not in ran.out + ran.err
        assert not good.appended
        assert receiver.exchanges[0].method == "HEAD"
        ran = await run("doctor", "--no-jobs", "--sink", "kafka://h")
        assert "Name a Kafka topic" in ran.out


async def refuse_passwords(api: int) -> int | None:
    return WRONG_PASSWORD if api == AUTHENTICATE else None
