"""A pipeline with parallel branches: the supervisors of both run in Jenkins at the same time."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import pytest_asyncio

from jenkins_pipelines.catalogue import PIPELINES
from jenkins_pipelines.fragment import combine
from jenkins_pipelines.fragments.supervised import supervised
from jenkins_pipelines.kind import PipelineKind, PipelineOptions
from jenkins_pipelines.models import Pipeline
from tests.support.inprocess import Jenkins, Shuttle, running_shuttle

pytestmark = pytest.mark.asyncio(loop_scope="module")


def build(_: PipelineOptions, /, platforms: Sequence[str] = ()) -> Pipeline:
    return combine("branches", "", supervised("links", "run_script", state=40, branches=("linux", "mac")))


BRANCHES = PipelineKind(
    name="branches",
    description="Runs ./build.sh in two branches.",
    Options=PipelineOptions,
    needs_destination=False,
    accepts_image_source=False,
    build=build,
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shuttle(tmp_path_factory: pytest.TempPathFactory, jenkins: Jenkins) -> AsyncIterator[Shuttle]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PIPELINES, "branches", BRANCHES)
        async with running_shuttle(tmp_path_factory.mktemp("branches"), jenkins.url) as running:
            yield running


async def stages(shuttle: Shuttle, path: str) -> dict[tuple[str, str], dict[str, Any]]:
    answer = await shuttle.get(f"{path}/stages")
    # An error, such as the 503 of a database that is slow for a moment, has no `stages`.
    assert answer.status == 200, answer.text
    found = answer.json["stages"]
    return {(stage["branch"], stage["stage"]): stage for stage in found}


# Each branch waits until the other one has begun.
BOTH = """\
case $PWD in *source-linux) mine=linux other=mac ;; *) mine=mac other=linux ;; esac
echo "begun $mine"
touch ../begun-$mine
while [ ! -e ../begun-$other ]; do sleep 0.05; done
echo "ended $mine"
"""


async def test_branches_run_at_the_same_time_with_stages_and_parts_of_the_log(shuttle: Shuttle, app: str):
    path = f"/{app}/1"
    await shuttle.submit(path, BOTH, pipeline="branches")
    build = await shuttle.until(path)
    assert (build["state"], build["reason"]) == ("succeeded", None)
    lines = (await shuttle.whole_log(path)).decode().splitlines()
    for branch in ("linux", "mac"):
        expected = [f"[{branch}] {text}" for text in ("-----> Running build.sh", f"begun {branch}", f"ended {branch}")]
        assert [line for line in lines if line.startswith(f"[{branch}] ")] == expected
        part = await shuttle.get(f"{path}/logs?stage=build&branch={branch}")
        own = [line for line in part.body.decode().splitlines() if line.startswith(f"[{branch}] ")]
        assert own == expected
    found = await stages(shuttle, path)
    assert {which: (stage["state"], stage["status"]) for which, stage in found.items()} == {
        (branch, name): (state, "succeeded")
        for branch in ("linux", "mac")
        for name, state in (("claim", 5), ("fetch", 10), ("build", 40))
    }
    linux, mac = found["linux", "build"], found["mac", "build"]
    assert max(linux["began_at"], mac["began_at"]) < min(linux["ended_at"], mac["ended_at"])


async def test_failed_branch_fails_the_build_after_the_other_one_has_ended(shuttle: Shuttle, app: str):
    path = f"/{app}/1"
    # The supervisor removes the source of a branch that has ended.
    failing = BOTH + "[ $mine = mac ] || exit 3\nwhile [ -e ../source-linux ]; do sleep 0.05; done\necho late\n"
    await shuttle.submit(path, failing, pipeline="branches")
    build = await shuttle.until(path)
    assert (build["state"], build["reason"]) == ("failed", "build_failed")
    log = (await shuttle.whole_log(path)).decode()
    assert "[linux] -----> build.sh ended with exit status 3.\n" in log
    assert "[mac] late\n" in log
    found = await stages(shuttle, path)
    assert (found["linux", "build"]["status"], found["linux", "build"]["code"]) == ("failed", 3)
    assert (found["mac", "build"]["status"], found["mac", "build"]["code"]) == ("succeeded", 0)
