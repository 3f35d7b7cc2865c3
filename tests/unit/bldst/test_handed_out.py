"""The program as one file and as a wheel: both run, and their bytes are always the same."""

import ast
import base64
import hashlib
import io
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import bldst
import shuttle
from shuttle.web.state.bldst import bldst_file, wheel
from tests.unit.bldst.conftest import RecordingServer, http_answer

_ROOT = Path(__file__).parents[3]
_MODULES = sorted(path for path in (_ROOT / "bldst").rglob("*.py"))


def test_version_is_the_shuttles():
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert bldst.__version__ == shuttle.__version__ == project["version"]


@pytest.mark.parametrize("path", _MODULES, ids=lambda path: str(path.relative_to(_ROOT)))
def test_module_is_python_3_8(path: Path):
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))


def test_file_has_all_modules_and_the_same_bytes_each_time():
    content = bldst_file()
    assert content.startswith(b"#!/usr/bin/env python3\n")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert set(archive.namelist()) == {"__main__.py", *(str(path.relative_to(_ROOT)) for path in _MODULES)}
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    bldst_file.cache_clear()
    assert bldst_file() == content


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "bldst"
    path.write_bytes(bldst_file())
    path.chmod(0o755)
    return path


def _run(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=30)


def test_file_runs_without_site_packages_and_environment(program: Path):
    ran = _run(sys.executable, "-I", "-S", program, "--version")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"bldst {shuttle.__version__}\n", "")


def test_a_call_imports_only_what_it_needs(program: Path, server: RecordingServer):
    """Pipelines call it often: argparse, pathlib and the tables of other commands would double its time."""
    script = (
        f"import sys; sys.path.insert(0, {str(program)!r}); from bldst.__main__ import main;"
        "main(['build', 'add-state', 'b-1', '--state', '10']); print(*sys.modules)"
    )
    ran = _run(sys.executable, "-I", "-S", "-c", script, BLDST_API_URL=server.url)
    assert [str(request) for request in server.requests] == ["POST /builds/b-1/states"]
    imported = set(ran.stdout.split())
    assert {name for name in imported if name.startswith("bldst.commands.")} == {"bldst.commands.build"}
    assert not imported & {
        "argparse",
        "pathlib",
        "tempfile",
        "urllib.request",
        "dataclasses",
        "bldst.help",
        "bldst.tables",
    }


def test_file_is_a_program_that_shells_use(program: Path, server: RecordingServer):
    server.says("POST /builds", {"id": "b-1"}, 201)
    script = """
        set -eu
        id=$(./bldst build create --id 42)
        ./bldst build add-state "$id" --state 10 --status "café"
        ./bldst oops
    """
    ran = subprocess.run(
        ["sh", "-c", script],
        cwd=program.parent,
        env={"PATH": os.environ["PATH"], "BLDST_API_URL": server.url, "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert ran.returncode == 2, ran.stderr
    assert [str(request) for request in server.requests] == ["POST /builds", "POST /builds/b-1/states"]
    assert server.requests[1].body == {"state": 10, "status": "café"}


class TestWheel:
    def test_has_the_modules_and_their_checksums(self):
        name, content = wheel()
        assert name == f"buildstate_cli-{shuttle.__version__}-py3-none-any.whl"
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            files = {member: archive.read(member) for member in archive.namelist()}
        folder = f"buildstate_cli-{shuttle.__version__}.dist-info"
        assert {str(path.relative_to(_ROOT)) for path in _MODULES} == {
            file for file in files if file.startswith("bldst/")
        }
        record = files[f"{folder}/RECORD"].decode().splitlines()
        assert record[-1] == f"{folder}/RECORD,,"
        for file, digest, size in (line.split(",") for line in record[:-1]):
            expected = base64.urlsafe_b64encode(hashlib.sha256(files[file]).digest()).rstrip(b"=").decode()
            assert (digest, int(size)) == (f"sha256={expected}", len(files[file]))
        assert len(record) == len(files)
        assert f"Name: buildstate-cli\nVersion: {shuttle.__version__}\n" in files[f"{folder}/METADATA"].decode()
        assert b"bldst = bldst.__main__:main\n" in files[f"{folder}/entry_points.txt"]

    def test_has_the_same_bytes_each_time(self):
        name, content = wheel()
        wheel.cache_clear()
        assert wheel() == (name, content)

    @pytest.mark.slow
    def test_pip_installs_it_from_an_index(self, tmp_path: Path, server: RecordingServer):
        name, content = wheel()
        page = f'<!DOCTYPE html><html><body><a href="../../{name}">{name}</a></body></html>'.encode()
        server.will("GET /pip/simple/buildstate-cli/", http_answer(page, headers={"Content-Type": "text/html"}))
        server.will(f"GET /pip/{name}", http_answer(content, headers={"Content-Type": "application/octet-stream"}))
        target = tmp_path / "installed"
        pip = (sys.executable, "-I", "-m", "pip", "install", "--disable-pip-version-check", "--no-cache-dir")
        index = ("--index-url", f"{server.url}/pip/simple", "--target", str(target), "buildstate-cli")
        ran = _run(*pip, *index, PATH=os.environ["PATH"], HOME=str(tmp_path))
        assert ran.returncode == 0, ran.stderr
        ran = _run(target / "bin" / "bldst", "--version", PATH=os.environ["PATH"], PYTHONPATH=str(target))
        assert (ran.returncode, ran.stdout) == (0, f"bldst {shuttle.__version__}\n")
