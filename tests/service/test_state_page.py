"""The commands in docs/state.md run, one after the other, in a shell with a running service."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from tests.recorded.page import DOCS
from tests.support.inprocess import running_shuttle

TOKEN = "controller-token-0001"
_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.slow
async def test_commands_of_the_page_run(tmp_path: Path):
    blocks = _BLOCK.findall((DOCS / "state.md").read_text("utf-8"))
    assert len(blocks) >= 5
    (tmp_path / "home").mkdir()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").symlink_to(sys.executable)
    async with running_shuttle(tmp_path / "service", SHUTTLE_TOKENS=f"controller:{TOKEN}") as shuttle:
        environment = {
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
            "HOME": str(tmp_path / "home"),
            "BLDST_API_URL": f"{shuttle.url}/-/state",
            "BLDST_API_KEY": TOKEN,
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        # One block runs within a build, which knows its id.
        blocks = [
            ("BLDST_BUILD_ID=$(bldst build create)\n" if "$BLDST_BUILD_ID" in each else "") + each for each in blocks
        ]
        script = "set -eu\n" + "\n".join(blocks)
        program = await asyncio.create_subprocess_exec(
            *("sh", "-c", script),
            cwd=tmp_path / "home",
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await program.communicate()
    assert program.returncode == 0, output.decode()
    for shown in ("failed at state 25", '"build_number":"nightly-7"', "RESUME_FROM_STATE='25'", '"total_builds": 5'):
        assert shown in output.decode()
