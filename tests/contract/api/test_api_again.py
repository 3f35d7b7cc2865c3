"""Building an ended build again: rebuilds, and builds that resume a failed one."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.git_server import git_server
from tests.support.inprocess import Shuttle
from tests.support.product import data_url

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def again(shuttle: Shuttle, path: str, body: Any) -> Any:
    answer = await shuttle.ask("POST", path, **({} if body is None else {"json": body}))
    assert answer.status in {200, 201}, answer.text
    return answer.json


async def test_rebuild_has_the_same_commit_and_arguments(shuttle: Shuttle, app: str, tmp_path: Path):
    async with git_server(tmp_path) as server:
        work = server.repository()
        commit = work.commit({"build.sh": '#!/bin/sh\necho "$GIT_COMMIT $GIT_BRANCH $GIT_URL $A"\n'}, "main")
        source = {"url": f"{server.url}/shop.git#main"}
        await shuttle.submit(f"/{app}/1", source=source, arguments={"A": "b"})
        await shuttle.until(f"/{app}/1")
        work.commit({"build.sh": "#!/bin/sh\nexit 1\n"}, "main")
        first = await again(shuttle, f"/{app}/1/rebuild", None)
        second = await again(shuttle, f"/{app}/1/rebuild", {"build_id": "mine"})
        assert (first["build_id"], second["build_id"]) == ("1-b1", "mine")
        for build_id in ("1-b1", "mine"):
            build = await shuttle.until(f"/{app}/{build_id}")
            assert (build["state"], build["source"]["commit"], build["source"]["branch"]) == (
                "succeeded",
                commit,
                "main",
            )
            log = (await shuttle.whole_log(f"/{app}/{build_id}")).decode()
            assert f"{commit} main {server.url}/shop.git b\n" in log
    repeated = await again(shuttle, f"/{app}/1/rebuild", {"build_id": "mine"})
    assert repeated == second


async def test_rebuild_of_nothing_and_bad_bodies(shuttle: Shuttle, app: str):
    assert (await shuttle.ask("POST", f"/{app}/none/rebuild", data=b"")).status == 404
    await shuttle.submit(f"/{app}/1", source={"url": data_url({"build.sh": "#!/bin/sh\n"})})
    await shuttle.until(f"/{app}/1")
    for body, field in ((b"[]", None), (b'{"build_id": 7}', "build_id"), (b'{"build_id": "a/b"}', "build_id")):
        answer = await shuttle.ask("POST", f"/{app}/1/rebuild", data=body)
        assert (answer.status, answer.json.get("field")) == (400, field)
    taken = await shuttle.ask("POST", f"/{app}/1/rebuild", data=b'{"build_id": "1"}')
    assert taken.status == 409


SCRIPT = """#!/bin/sh
echo "mode ${RESUME_MODE-none} from ${RESUME_FROM_STATE-none} of ${BUILD_ID-none}"
[ -n "${RESUME_MODE-}" ] || exit 3
"""


async def test_failed_build_is_resumed_once(shuttle: Shuttle, app: str):
    await shuttle.submit(f"/{app}/1", source={"url": data_url({"build.sh": SCRIPT})})
    failed = await shuttle.until(f"/{app}/1")
    assert failed["state"] == "failed"
    body = {"resume_from": {"build_id": "1", "state": 20}}
    for _ in range(2):
        assert (await shuttle.ask("POST", f"/{app}/next", json=body)).status == 200
    resumed = await shuttle.until(f"/{app}/next")
    assert resumed["state"] == "succeeded"
    log = (await shuttle.whole_log(f"/{app}/next")).decode()
    assert f"mode true from 20 of {failed['build_uuid']}\n" in log
    request = (await shuttle.get(f"/-/state/builds/{failed['build_uuid']}/resume")).json
    assert [(each["id"], each["resume_from_state"], each["orchestration_status"]) for each in request] == [
        (resumed["build_uuid"], 20, "completed")
    ]


async def test_resume_through_the_other_door_is_the_same_build(shuttle: Shuttle, app: str):
    await shuttle.submit(f"/{app}/1", source={"url": data_url({"build.sh": "#!/bin/sh\nsleep 600 & exit 1\n"})})
    failed = await shuttle.until(f"/{app}/1")
    path = f"/-/state/builds/{failed['build_uuid']}/resume"
    slow = data_url({"build.sh": "#!/bin/sh\nwhile :; do sleep 1; done\n"})
    own = {"resume_from": {"build_id": "1"}, "source": {"url": slow}}
    assert (await shuttle.ask("POST", f"/{app}/2", json=own)).status == 200
    other = await shuttle.ask("POST", path, json={})
    assert other.status == 409, "it is being resumed with another source"
    assert (await shuttle.ask("DELETE", f"/{app}/2")).status == 200
    await shuttle.until(f"/{app}/2")
    first, second = [(await shuttle.ask("POST", path, json={})) for _ in range(2)]
    assert (first.status, first.json["build_number"]) == (201, "1-r1")
    await shuttle.until(f"/{app}/1-r1")
    assert second.json["id"] == first.json["id"] or second.status == 201


async def test_only_a_failed_build_is_resumed(shuttle: Shuttle, app: str):
    await shuttle.submit(f"/{app}/1", source={"url": data_url({"build.sh": "#!/bin/sh\n"})})
    await shuttle.until(f"/{app}/1")
    for build_id, status in (("1", 409), ("none", 404)):
        body = {"resume_from": {"build_id": build_id}}
        assert (await shuttle.ask("POST", f"/{app}/2", json=body)).status == status
