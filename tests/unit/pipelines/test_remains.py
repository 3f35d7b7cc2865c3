"""What an earlier build has left in its source folder as files of another user, as containers write them."""

import os
import shutil

import pytest

from tests.support.unchecked import unchecked
from tests.unit.pipelines.agent import Agent
from tests.unit.pipelines.builds import SCRIPT, shuttle

BUILD = "[ ! -e dist ] || exit 9; mkdir dist; echo new >dist/new\n"
FOLDERS = ("source", "source+2", "source+3", "source+4", "source+5")


# Only root can make files of another user. For others, this `rm` refuses the folders as the kernel does.
_RM = """#!/bin/sh
for folder; do [ ! -e "$folder/dist/old" ] || exit 1; done
exec {rm} "$@"
"""


def leave(agent: Agent, *folders: str) -> None:
    """Leave folders dist/ with a file, which the agent's user cannot remove."""
    agent.obeys_permissions = True
    for name in folders:
        dist = agent.workspace / name / "dist"
        dist.mkdir(parents=True)
        (dist / "old").write_text("old")
        if os.geteuid() == 0:
            os.chown(dist, 54321, 54321)
        elif agent.shell == "busybox":
            unchecked("busybox runs its own rm, and only root can make files of another user")
        else:
            agent.program("rm", _RM.format(rm=shutil.which("rm")))


@pytest.mark.parametrize("stuck", [1, 4])
async def test_build_does_not_see_files_that_an_earlier_build_has_left(each_agent: Agent, stuck: int) -> None:
    leave(each_agent, *FOLDERS[:stuck])
    async with shuttle(BUILD) as api:
        each_agent.url = api.url
        run = await each_agent.run(SCRIPT)
    assert run.status == 0, (run.console, api.log)
    assert api.artifacts == {"new": b"new\n"}
    first, used = (each_agent.workspace / name for name in (FOLDERS[0], FOLDERS[stuck]))
    assert f"-----> Files of an earlier build cannot be removed from {first}; this build runs in {used}.\n" in api.log
    assert not used.exists()


async def test_build_fails_with_a_reason_if_too_many_folders_cannot_be_removed(each_agent: Agent) -> None:
    leave(each_agent, *FOLDERS)
    async with shuttle(BUILD) as api:
        each_agent.url = api.url
        run = await each_agent.run(SCRIPT)
    assert (run.status, api.ends) == (1, {"main": 1}), run.console
    assert api.reports["failure"]["reason"] == "source_folder"
    assert str(each_agent.workspace / "source") in api.reports["failure"]["message"]
