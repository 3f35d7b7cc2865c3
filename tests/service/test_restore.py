"""Runs the commands of the restore drill in docs/operating.md."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from tests.support.inprocess import running_jenkins, running_shuttle

pytestmark = pytest.mark.slow

_PAGE = Path(__file__).parents[2] / "docs" / "operating.md"


async def test_a_backup_of_a_running_service_is_restored_with_its_builds_and_logs(tmp_path: Path):
    backup, restored = tmp_path / "backup", tmp_path / "restored"
    async with running_jenkins(tmp_path) as jenkins, running_shuttle(tmp_path, jenkins.url) as shuttle:
        await shuttle.submit("/app/1", "echo hello", arguments={"A": "b"})
        build = await shuttle.until("/app/1")
        log = await shuttle.whole_log("/app/1")
        await shuttle.until_settled(build["build_uuid"])
        await _run("backup", SHUTTLE_DATA_DIR=str(shuttle.data), BACKUP=str(backup))
        await shuttle.submit("/app/2")
    restored.mkdir()
    await _run("restore", SHUTTLE_DATA_DIR=str(restored / "data"), BACKUP=str(backup))
    async with running_shuttle(restored) as shuttle:
        assert [one["build_id"] for one in (await shuttle.get("/app")).json["builds"]] == ["1"]
        again = await shuttle.build("/app/1")
        assert (again["log"], again["arguments"]) == (build["log"], {"A": "b"})
        assert await shuttle.whole_log("/app/1") == log
        assert (await shuttle.get(f"/{build['build_uuid']}")).status == 200


async def _run(name: str, **variables: str) -> None:
    """Run the commands of the page in a shell, with this Python."""
    [script] = re.findall(f"<!-- run by a test: {name} -->\n```sh\n(.*?)```", _PAGE.read_text(), re.DOTALL)
    environment = {**os.environ, **variables, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    shell = await asyncio.create_subprocess_exec("sh", "-eu", "-c", script, env=environment)
    assert await shell.wait() == 0
