"""bldst as the service hands it out: the file runs, and pip installs the wheel from the service alone."""

import asyncio
import re
import sys
from pathlib import Path

import pytest

from tests.support.inprocess import Shuttle

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOBODY = {"X-API-Key": ""}


async def output_of(*command: str | Path, folder: Path) -> str:
    """The standard output of a program that succeeds, in an environment of its own."""
    program = await asyncio.create_subprocess_exec(
        *command,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await program.communicate()
    assert program.returncode == 0, errors.decode()
    return output.decode()


async def test_file_is_a_program_that_needs_only_python(state: Shuttle, tmp_path: Path):
    answer = await state.get("/-/state/bldst", headers=NOBODY)
    assert answer.status == 200
    assert answer.headers["Content-Disposition"] == 'attachment; filename="bldst"'
    (tmp_path / "bldst").write_bytes(answer.body)
    assert "." in await output_of(sys.executable, "-I", tmp_path / "bldst", "--version", folder=tmp_path)


@pytest.mark.parametrize("path", ["/-/state/pip/simple/buildstate-cli", "/-/state/pip/simple/buildstate-cli/"])
async def test_page_leads_to_the_wheel(state: Shuttle, path: str):
    page = await state.get(path, headers=NOBODY)
    assert page.headers["Content-Type"].startswith("text/html")
    link = re.search('href="([^#"]+)#sha256=[0-9a-f]{64}"', page.text)
    assert link is not None
    wheel = await state.get(f"{path.rpartition('/')[0]}/{link[1]}", headers=NOBODY)
    assert (wheel.status, wheel.body[:2]) == (200, b"PK")


async def test_index_has_nothing_else(state: Shuttle):
    for path in ("buildstate-cli/x.whl", "requests/", "requests/x.whl"):
        assert (await state.get(f"/-/state/pip/simple/{path}", headers=NOBODY)).status == 404


@pytest.mark.slow
async def test_pip_installs_from_the_service_alone(state: Shuttle, tmp_path: Path):
    index = f"{state.url}/-/state/pip/simple"
    options = ("--isolated", "--no-cache-dir", "--disable-pip-version-check", "--target", str(tmp_path / "site"))
    await output_of(
        sys.executable, "-m", "pip", "install", *options, "--index-url", index, "buildstate-cli", folder=tmp_path
    )
    assert (tmp_path / "site" / "bldst" / "__main__.py").exists()
