"""A build of a git source: its commit is in the record, the log and the environment, its password nowhere."""

from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.git_server import PASSWORD, USER, git, git_server
from tests.support.inprocess import Shuttle

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.slow
async def test_build_of_a_branch_knows_its_commit_and_shows_no_password(shuttle: Shuttle, app: str, tmp_path: Path):
    async with git_server(tmp_path) as server:
        server.with_password = True
        work = server.repository()
        script = '#!/bin/sh\necho "$GIT_COMMIT $GIT_BRANCH $GIT_URL"; ls -A\n'
        commit = work.commit({"services/shop/build.sh": script}, "feat/x")
        repository = f"{server.url}/shop.git"
        with_password = repository.replace("//", f"//{USER}:{quote(PASSWORD, safe='')}@")
        source = {"url": f"git+{with_password}#feat/x", "subdir": "services/shop"}
        await shuttle.submit(f"/{app}/1", source=source)
        build = await shuttle.until(f"/{app}/1")
    log = (await shuttle.whole_log(f"/{app}/1")).decode()
    assert build["state"] == "succeeded", log
    assert (build["source"]["commit"], build["source"]["branch"]) == (commit, "feat/x")
    assert build["source"]["url"] == f"git+{repository}#feat/x"
    assert f"-----> Source: git+{repository}#feat/x\n-----> Source: commit {commit} of the branch feat/x\n" in log
    assert f"{commit} feat/x {repository}\nbuild.sh\n" in log
    assert PASSWORD not in log + str(build)


@pytest.mark.slow
async def test_tag_sets_no_branch_and_arguments_win(shuttle: Shuttle, app: str, tmp_path: Path):
    async with git_server(tmp_path) as server:
        work = server.repository()
        commit = work.commit({"build.sh": '#!/bin/sh\necho "$GIT_COMMIT ${GIT_BRANCH-none} $GIT_URL"\n'})
        git(work.folder, "tag", "v1")
        work.push()
        source = {"url": f"{server.url}/shop.git#v1"}
        await shuttle.submit(f"/{app}/1", source=source, arguments={"GIT_URL": "mine"})
        build = await shuttle.until(f"/{app}/1")
        await shuttle.submit(f"/{app}/2", source={"url": f"{server.url}/shop.git#v2"})
        missing = await shuttle.until(f"/{app}/2")
    assert (build["source"]["commit"], build["source"]["branch"]) == (commit, None)
    assert f"{commit} none mine\n" in (await shuttle.whole_log(f"/{app}/1")).decode()
    assert (missing["state"], missing["reason"]) == ("failed", "source_ref_not_found")
