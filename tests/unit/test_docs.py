"""Commands, options, make targets, settings, files and examples in the documents exist and work."""

import json
import os
import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer.main

from jenkins_pipelines.catalogue import PIPELINES
from shuttle.build import Build, Status
from shuttle.cli import app
from shuttle.events import status_body
from shuttle.request.legacy import read_legacy_request
from shuttle.request.legacy_shape import LegacyBody
from shuttle.request.parse import parse_build_request
from shuttle.setting_files import names_with_files
from shuttle.settings import Settings, load_settings, setting_names
from shuttle.settings.load import NAMES_WITHOUT_EFFECT

_ROOT = Path(__file__).parents[2]
_PAGES = sorted([*_ROOT.glob("*.md"), *_ROOT.joinpath("docs").glob("*.md")])
# Commands that change nothing and need no service are run as they are written.
_RUN = (
    "shuttle pipelines list",
    "shuttle pipelines render script",
    "shuttle token new",
    "shuttle token new --role reader --json",
)


def _lines() -> list[tuple[str, str]]:
    """Every line of every shell block, with the page it is on."""
    blocks = [
        (page.name, block)
        for page in _PAGES
        for block in re.findall(r"^ *```sh\n(.*?)^ *```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    ]
    return [(name, line.strip()) for name, block in blocks for line in block.replace("\\\n", " ").splitlines()]


def _commands(program: str) -> list[str]:
    found = [line for _, line in _lines() if line.startswith(f"{program} ")]
    inline = [
        code
        for page in _PAGES
        for code in re.findall(r"`([^`\n]+)`", page.read_text(encoding="utf-8"))
        if code.startswith(f"{program} ")
    ]
    return sorted({*found, *inline})


@pytest.mark.parametrize("line", _commands("shuttle"))
def test_every_command_and_option_exists(line: str):
    command: Any = typer.main.get_command(app)
    words = shlex.split(line, comments=True)[1:]
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    assert words == ["--help"] or not getattr(command, "commands", {}), f"{line}: there is no such command"
    known = {name: option for option in command.params for name in (*option.opts, *option.secondary_opts)}
    for word in words:
        if word.startswith("-") and word != "-":
            assert word.partition("=")[0] in known or word == "--help", f"{line}: there is no {word}"


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.name)
def test_no_command_line_holds_a_password(page: Path):
    """Every user of a machine sees its commands, with the values of their variables."""
    text = page.read_text(encoding="utf-8")
    text_of_files = re.compile(r"<<'END'.*?^ *END$", re.MULTILINE | re.DOTALL)
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in blocks for line in text_of_files.sub("", block).splitlines()]
    commands = [line for line in lines if not line.startswith(("echo ", "printf ", "export ", "#"))]
    commands += re.findall(r"`shuttle [^`]*`", text)
    assert [line for line in commands if re.search(r"://[^/\s]*@|Bearer|--token|--callback-auth", line)] == []


@pytest.mark.parametrize("line", _commands("make"))
def test_every_make_target_exists(line: str):
    targets = re.findall(r"^([a-z-]+):", (_ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    words = [word for word in shlex.split(line, comments=True)[1:] if "=" not in word]
    assert set(words) <= set(targets), line


def test_commands_that_are_run_here_are_in_the_documents():
    assert set(_RUN) <= set(_commands("shuttle"))


@pytest.mark.parametrize("line", _RUN)
def test_command_works_as_written(line: str, tmp_path: Path):
    arguments = [sys.executable, "-m", "shuttle", *shlex.split(line)[1:]]
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    ran = subprocess.run(
        arguments, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=30
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip()


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.name)
def test_every_setting_that_is_named_exists(page: Path):
    known = setting_names() | {f"{name}_FILE" for name in names_with_files(Settings)}
    of_commands = {
        "SHUTTLE_URL",
        "SHUTTLE_TOKEN",
        "SHUTTLE_TOKEN_FILE",
        "SHUTTLE_JENKINS_EMULATOR_TOKEN",
        "SHUTTLE_SINK",
        "SHUTTLE_DESTINATION",
    }
    of_builds = {"SHUTTLE_RESUME_FROM", "SHUTTLE_APP_ID", "SHUTTLE_BUILD_ID", "SHUTTLE_RUN"}
    named = set(re.findall(r"\bSHUTTLE_[A-Z_]+\b", page.read_text(encoding="utf-8")))
    assert named <= known | of_commands | of_builds | set(NAMES_WITHOUT_EFFECT)


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.name)
def test_every_link_and_file_that_is_named_is_there(page: Path):
    text = page.read_text(encoding="utf-8")
    links = [target for target in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in target]
    for target in links:
        assert page.parent.joinpath(target).exists(), f"{page.name} links to {target}"
    files = re.findall(r"`((?:shuttle|jenkins_pipelines|tests|docs|\.ci)/[\w/.-]+)`", text)
    for file in files:
        assert _ROOT.joinpath(file).exists(), f"{page.name} names {file}"


def _anchor(heading: str) -> str:
    """The anchor that GitHub makes of a heading: lower case, dashes for spaces, no punctuation."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def _headings(page: Path) -> list[str]:
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"^#+ (.+)$", text, re.MULTILINE)


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.name)
def test_every_heading_that_is_linked_exists(page: Path):
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            linked = page.parent.joinpath(target) if target else page
            assert anchor in map(_anchor, _headings(linked)), f"{page.name} links to {target}#{anchor}"


def test_every_heading_that_code_cites_exists():
    files = [file for folder in ("shuttle", "jenkins_pipelines", "tests") for file in _ROOT.joinpath(folder).rglob("*")]
    cited = re.compile(r"\b(docs/[\w-]+\.md|ARCHITECTURE\.md), \"([^\"]+)\"")
    checked = 0
    for file in files:
        if file.suffix not in {".py", ".sh"}:
            continue
        for page, heading in cited.findall(file.read_text(encoding="utf-8")):
            checked += 1
            assert heading in _headings(_ROOT / page), f"{file.relative_to(_ROOT)} cites {page}, {heading}"
    assert checked


def test_ci_runs_the_targets_that_exist():
    script = (_ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert os.access(_ROOT / ".ci" / "run", os.X_OK)
    steps = re.findall(r"^step make ([a-z-]+)$", script, re.MULTILINE)
    assert steps == ["check", "test", "scenarios", "test-real", "demo"]
    targets = re.findall(r"^([a-z-]+):", (_ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(steps) <= set(targets)


def test_build_context_of_the_image_has_only_what_it_copies():
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (_ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    wanted = {name for line in copied for name in line.split()}
    allowed = re.findall(r"^!(.+)$", (_ROOT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE)
    assert wanted == set(allowed)
    assert all(_ROOT.joinpath(name).exists() for name in wanted)


def test_request_in_the_readme_is_accepted():
    [body] = re.findall(
        r"^cat > request.json <<'END'$(.*?)^END$", (_ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    parsed = parse_build_request(json.loads(body), load_settings({}), PIPELINES)
    assert parsed.ignored_fields == ()


def test_status_in_the_documents_has_the_fields_that_receivers_get():
    [shown] = re.findall(r"```json\n(.*?)```", (_ROOT / "docs" / "receiving.md").read_text(), re.DOTALL)
    at = datetime(2030, 1, 1, tzinfo=UTC)
    build = Build(build_uuid="u", app_id="shop", build_id="42", accepted_at=at, deadline_at=at)
    sent = status_body(build, status=Status.SUCCEEDED, building=False, at=at, sequence=3, artifacts=[])
    assert list(json.loads(shown)) == list(json.loads(sent))


def test_migration_example_is_the_same_build_in_both_apis():
    older, new = (_one_build(api) for api in ("older", "new"))
    settings = load_settings({})
    asked = read_legacy_request(older, settings, PIPELINES["docker-image"], ())
    parsed = parse_build_request(new, settings, PIPELINES)
    assert asked.numbered(42).request == parsed.request
    assert f"`POST /{asked.app_id}/42`" in _migration()


def test_migration_page_covers_every_old_setting_and_field():
    rows = re.findall(r"^\| (`.*?) \|", _migration(), re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    without_effect = {name for name in NAMES_WITHOUT_EFFECT if not name.startswith("SHUTTLE_")}
    assert without_effect | set(LegacyBody.model_fields) <= named
    old = {name.upper() for name in Settings.model_fields if not name.startswith("shuttle_")} - {"DATABASE_URL"}
    assert old <= named


def test_migration_page_lists_every_fault_that_has_a_test():
    faults = _ROOT.joinpath("tests", "contract", "legacy").glob("test_old_fault*.py")
    tested = {int(number) for page in faults for number in re.findall(r"def test_fault_(\d+)_", page.read_text())}
    listed = {int(number) for number in re.findall(r"^\| (\d+) \|", _migration(), re.MULTILINE)}
    assert tested == listed


def _migration() -> str:
    return (_ROOT / "docs" / "migration.md").read_text(encoding="utf-8")


def _one_build(api: str) -> Any:
    [body] = re.findall(f"<!-- one build: {api} -->\n```json\n(.*?)```", _migration(), re.DOTALL)
    return json.loads(body)


def test_glossary_explains_each_word_once_in_alphabetical_order():
    words = re.findall(r"^\| (.+?) \|", (_ROOT / "docs" / "glossary.md").read_text(encoding="utf-8"), re.MULTILINE)[1:]
    assert words == sorted(set(words), key=str.lower)
