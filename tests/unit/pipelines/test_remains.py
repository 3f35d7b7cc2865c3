"""What an earlier build has left in its source folder as files of another user, as containers write them."""

import os
from pathlib import Path

import pytest

from tests.unit.pipelines.agent import Agent
from tests.unit.pipelines.builds import SCRIPT, shuttle

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of another user")
BUILD = "[ ! -e dist ] || exit 9; mkdir dist; echo new >dist/new\n"
FOLDERS = ("source", "source+2", "source+3", "source+4", "source+5")


def leave(folder: Path) -> None:
    """Leave a folder dist/ with a file, which the agent's user cannot remove."""
    (folder / "dist").mkdir(parents=True)
    (folder / "dist" / "old").write_text("old")
    os.chown(folder / "dist", 54321, 54321)


@pytest.mark.parametrize("stuck", [1, 4])
async def test_build_does_not_see_files_that_an_earlier_build_has_left(each_agent: Agent, stuck: int) -> None:
    each_agent.obeys_permissions = True
    for name in FOLDERS[:stuck]:
        leave(each_agent.workspace / name)
    async with shuttle(BUILD) as api:
        each_agent.url = api.url
        run = await each_agent.run(SCRIPT)
    assert run.status == 0, (run.console, api.log)
    assert api.artifacts == {"new": b"new\n"}
    first, used = (each_agent.workspace / name for name in (FOLDERS[0], FOLDERS[stuck]))
    assert f"-----> Files of an earlier build cannot be removed from {first}; this build runs in {used}.\n" in api.log
    assert not used.exists()


async def test_build_fails_with_a_reason_if_too_many_folders_cannot_be_removed(each_agent: Agent) -> None:
    each_agent.obeys_permissions = True
    for name in FOLDERS:
        leave(each_agent.workspace / name)
    async with shuttle(BUILD) as api:
        each_agent.url = api.url
        run = await each_agent.run(SCRIPT)
    assert (run.status, api.ends) == (1, {"main": 1}), run.console
    assert api.reports["failure"]["reason"] == "source_folder"
    assert str(each_agent.workspace / "source") in api.reports["failure"]["message"]
