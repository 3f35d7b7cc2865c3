"""`shuttle serve`, `pipelines`, `token`, `jenkins` and `--help`."""

import json
import os
import resource
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from jenkins_emulator import EmulatedJenkins
from jenkins_pipelines.catalogue import PIPELINES
from shuttle.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


async def test_serving_other_machines_without_tokens_is_refused_in_one_line(run, monkeypatch):
    monkeypatch.setenv("SHUTTLE_BIND", "0.0.0.0")
    ran = await run("serve")
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert "SHUTTLE_TOKENS" in ran.err
    assert "SHUTTLE_ALLOW_ANONYMOUS=true" in ran.err


@pytest.mark.slow
def test_port_in_use_is_reported_in_one_sentence(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        environment = {**os.environ, "PORT": str(port), "SHUTTLE_DATA_DIR": str(tmp_path)}
        served = subprocess.run(
            [sys.executable, "-m", "shuttle", "serve"],
            cwd=Path(__file__).parents[3],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
    assert served.returncode == 1
    assert served.stderr.splitlines()[-1].startswith("shuttle: The service cannot run: ")
    assert str(port) in served.stderr
    assert "Traceback" not in served.stderr


FULL = "The database cannot be used now (disk I/O error); check the disk"


@pytest.mark.parametrize("command", ["migrate", "doctor"])
async def test_full_disk_is_reported_in_one_sentence(tmp_path, command, run, monkeypatch):
    monkeypatch.setenv("SHUTTLE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("PORT", "0")
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_240, hard))
    try:
        ran = await run(command)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert ran.code == 1
    assert FULL in ran.out + ran.err


@pytest.mark.slow
def test_start_with_a_full_disk_is_refused_in_one_sentence(tmp_path):
    began = subprocess.run(
        ["/bin/sh", "-c", 'ulimit -f 20; exec "$0" -m shuttle serve', sys.executable],
        cwd=Path(__file__).parents[3],
        env={**os.environ, "PORT": "0", "SHUTTLE_DATA_DIR": str(tmp_path / "data")},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert began.returncode == 1, began.stderr
    assert FULL in began.stdout + began.stderr
    assert "Traceback" not in began.stderr


async def test_pipelines_are_listed_with_the_default_marked(run):
    names = {line.split("\t")[0]: line.split("\t")[1] for line in (await run("pipelines", "list")).out.splitlines()}
    assert names == {name: "default" if name == "docker-image" else "" for name in PIPELINES}
    described = json.loads((await run("pipelines", "list", "--json")).out)["pipelines"]
    assert [entry["name"] for entry in described if entry["default"]] == ["docker-image"]


async def test_rendered_pipeline_is_printed_and_written(run, tmp_path):
    ran = await run("pipelines", "render", "script", "--directory", str(tmp_path / "out"), "--agent-label", "arm")
    assert ran.code == 0
    assert ran.out == (tmp_path / "out" / "Jenkinsfile").read_text()
    assert "label 'arm'" in ran.out
    assert (tmp_path / "out" / "config.xml").exists()
    assert json.loads((tmp_path / "out" / "definition.json").read_text())["agent_label"] == "arm"
    assert "shuttle pipelines apply script JOB --agent-label arm" in ran.err


async def test_printed_apply_command_quotes_the_agent_label_for_a_shell(run, tmp_path):
    label = "linux && arm"
    ran = await run("pipelines", "render", "script", "--directory", str(tmp_path), "--agent-label", label)
    assert shlex.split(ran.err.splitlines()[-1])[-2:] == ["--agent-label", label]


async def test_unknown_pipeline_is_refused_with_the_known_names(run):
    ran = await run("pipelines", "render", "scirpt")
    assert (ran.code, ran.out) == (2, "")
    assert "docker-image, script" in ran.err


async def test_apply_creates_the_job_and_is_idempotent(run, tmp_path, monkeypatch):
    jenkins = EmulatedJenkins(tmp_path, user="u", token="t0ken")
    await jenkins.start()
    try:
        monkeypatch.setenv("JENKINS_URL", jenkins.url.replace("//", "//u:t0ken@"))
        first = await run("pipelines", "apply", "script", "team/build")
        assert first.code == 0
        assert "sha256:" in first.err
        assert await run("pipelines", "apply", "script", "team/build") == first
    finally:
        await jenkins.close()
    down = await run("pipelines", "apply", "script", "team/build")
    assert down.code == 1
    assert "out of reach" in down.err
    assert "t0ken" not in down.err


async def test_new_tokens_are_strong_and_different_and_accepted_by_the_settings(run):
    first, second = [(await run("token", "new")).out.strip() for _ in range(2)]
    assert first != second
    assert len(first) >= 43
    made = json.loads((await run("token", "new", "--role", "reader", "--json")).out)
    tokens = load_settings({"SHUTTLE_TOKENS": made["setting"].partition("=")[2]}).shuttle_tokens
    assert [(role, token.get_secret_value()) for role, token in tokens] == [("reader", made["token"])]


async def test_emulated_jenkins_needs_both_user_and_token_or_neither(run, tmp_path):
    ran = await run("jenkins", "--home", str(tmp_path), "--user", "u")
    assert ran.code == 2
    assert "--token" in ran.err


async def test_emulated_jenkins_accepts_recorded_generations_only(run, tmp_path):
    ran = await run("jenkins", "--home", str(tmp_path), "--generation", "3.0")
    assert ran.code == 2
    assert "2.263, 2.568" in ran.err


async def test_help_names_every_command(run):
    ran = await run("--help")
    assert ran.code == 0
    for name in (
        "serve",
        "demo",
        "submit",
        "status",
        "logs",
        "stop",
        "builds",
        "apps",
        "deliveries",
        "pipelines",
        "jenkins",
    ):
        assert f" {name} " in ran.out
    for name in ("token", "migrate", "doctor"):
        assert f" {name} " in ran.out


def test_help_imports_no_modules_that_it_does_not_use():
    probe = (
        "import sys, shuttle.cli; print({'aiohttp', 'boto3', 'pydantic', 'sqlalchemy', 'rich.table'} & {*sys.modules})"
    )
    root = Path(__file__).parents[3]
    ran = subprocess.run([sys.executable, "-c", probe], cwd=root, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("environment", "arguments", "expected"),
    [
        ({"SHUTTLE_TOKEN_FILE": "file"}, (), "of-the-file"),
        ({"SHUTTLE_TOKEN": "of-the-environment"}, (), "of-the-environment"),
        ({"SHUTTLE_TOKEN_FILE": "file", "SHUTTLE_TOKEN": "other"}, ("--token", "of-the-option"), "of-the-option"),
        ({"SHUTTLE_TOKEN_FILE": "file", "SHUTTLE_TOKEN": "other"}, (), None),
        ({"SHUTTLE_TOKEN_FILE": "/nowhere/file"}, (), None),
    ],
)
async def test_commands_take_their_token_from_a_file(
    run, service, tmp_path, monkeypatch, environment, arguments, expected
):
    file = tmp_path / "token"
    file.write_text("of-the-file\n")
    for name, value in environment.items():
        monkeypatch.setenv(name, str(file) if value == "file" else value)
    service.says("GET", "/-/builds", {"builds": [], "next": None})
    ran = await run("builds", "--url", service.url, *arguments)
    if expected is None:
        assert ran.code == 2
        assert "SHUTTLE_TOKEN_FILE" in ran.err
        assert service.asked == []
    else:
        assert service.asked[0].authorization == f"Bearer {expected}"
