"""Building an ended build again: rebuilds, and builds that resume a failed one."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from shuttle.objects.names import artifact_object, source_object
from tests.support.git_server import git_server
from tests.support.inprocess import Shuttle
from tests.support.product import data_url

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def again(shuttle: Shuttle, path: str, body: Any) -> Any:
    answer = await shuttle.ask("POST", path, **({} if body is None else {"json": body}))
    assert answer.status in {200, 201}, answer.text
    return answer.json


@pytest.mark.slow
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


@pytest.mark.slow
async def test_latest_is_the_newest_commit_of_the_branch(shuttle: Shuttle, app: str, tmp_path: Path):
    async with git_server(tmp_path) as server:
        work = server.repository()
        first = work.commit({"build.sh": '#!/bin/sh\necho "at $GIT_COMMIT"; exit 3\n'}, "main")
        await shuttle.submit(f"/{app}/1", source={"url": f"{server.url}/shop.git#main"})
        failed = await shuttle.until(f"/{app}/1")
        await again(shuttle, f"/{app}/1/rebuild", {"build_id": "old"})
        assert (await shuttle.until(f"/{app}/old"))["source"]["commit"] == first
        second = work.commit({"build.sh": '#!/bin/sh\necho "at $GIT_COMMIT"\n'}, "main")
        # `old` has the stored source of the first build, so the branch is that of the first one.
        await again(shuttle, f"/{app}/old/rebuild", {"build_id": "new", "latest": True})
        resumed = await again(shuttle, f"/-/state/builds/{failed['build_uuid']}/resume", {"latest": True})
        for build_id in ("new", resumed["build_number"]):
            build = await shuttle.until(f"/{app}/{build_id}")
            assert (build["state"], build["source"]["commit"]) == ("succeeded", second)
        await shuttle.submit(f"/{app}/pinned", source={"url": f"{server.url}/shop.git#{first}"})
        await shuttle.until(f"/{app}/pinned")
    await shuttle.submit(f"/{app}/data", source={"url": data_url({"build.sh": "#!/bin/sh\nexit 3\n"})})
    await shuttle.until(f"/{app}/data")
    for build_id in ("pinned", "data"):
        body = {"resume_from": {"build_id": build_id, "latest": True}}
        assert (await shuttle.ask("POST", f"/{app}/x", json=body)).status == 400
    both = {"resume_from": {"build_id": "data", "latest": True}, "source": {"url": data_url({"build.sh": ""})}}
    assert (await shuttle.ask("POST", f"/{app}/x", json=both)).json["field"] == "resume_from.latest"


async def test_rebuild_of_an_unknown_build_or_with_a_bad_body_is_refused(shuttle: Shuttle, app: str):
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


async def test_request_to_resume_keeps_its_reason(shuttle: Shuttle, app: str):
    """Before, only requests about builds of other CI systems kept it."""
    await shuttle.submit(f"/{app}/1", source={"url": "data:,x"})
    await shuttle.until(f"/{app}/1")
    uuid = (await shuttle.get(f"/{app}/1")).json["build_uuid"]
    path = f"/-/state/builds/{uuid}/resume"
    config = {"job": "j", "trigger_webhook": "https://ci.example.com/s3cret"}
    body = {"resume_reason": "There is room.", "requested_by": "me", "orchestration_config": config}
    made = (await shuttle.ask("POST", path, json=body)).json
    assert (made["resume_reason"], made["requested_by"], made["orchestration_config"]) == (
        "There is room.",
        "me",
        {"job": "j"},
    )
    assert [each["resume_reason"] for each in (await shuttle.get(path)).json] == ["There is room."]


async def test_repeat_of_a_resume_is_answered_while_another_build_resumes_the_same_one(shuttle: Shuttle, app: str):
    waits = data_url(
        {"build.sh": '#!/bin/sh\n[ -n "${RESUME_MODE-}" ] || exit 3\n[ $RESUME_FROM_STATE = 20 ] || sleep 600\n'}
    )
    await shuttle.submit(f"/{app}/1", source={"url": waits})
    await shuttle.until(f"/{app}/1", "failed")
    body = {"resume_from": {"build_id": "1", "state": 20}}
    first = await shuttle.ask("POST", f"/{app}/next", json=body)
    await shuttle.until(f"/{app}/next")
    third = await shuttle.ask("POST", f"/{app}/third", json={"resume_from": {"build_id": "1", "state": 30}})
    repeat = await shuttle.ask("POST", f"/{app}/next", json=body)
    assert (third.status, repeat.status, repeat.json) == (200, 200, first.json)
    assert repeat.headers["Shuttle-Replayed"] == "true"
    assert (await shuttle.delete(f"/{app}/third")).status == 200
    await shuttle.until(f"/{app}/third")


QUOTA = """#!/bin/sh
[ -z "${RESUME_MODE-}" ] || exit 0
curl -fsS -o /dev/null -H "X-API-Key: $BLDST_API_KEY" -H 'Content-Type: application/json' \\
  -d "{\\"error_message\\": \\"There is no room.\\", \\"retryable\\": $RETRYABLE}" \\
  "$BLDST_API_URL/builds/$BLDST_BUILD_ID/failures"
exit 3
"""


@pytest.mark.slow
async def test_build_whose_process_says_retryable_is_resumed_by_itself(
    shuttle: Shuttle, app: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("shuttle.worker._TICK_SECONDS", 0.05)
    request: dict[str, Any] = {"source": {"url": data_url({"build.sh": QUOTA})}, "auto_resume": {"after_seconds": 1}}
    for name, retryable in (("lasting", False), ("passing", True)):
        await shuttle.submit(f"/{app}-{name}/1", arguments={"RETRYABLE": retryable}, **request)
    failed = {name: await shuttle.until(f"/{app}-{name}/1") for name in ("lasting", "passing")}
    assert {name: build["state"] for name, build in failed.items()} == {"lasting": "failed", "passing": "failed"}
    path = f"/-/state/builds/{failed['passing']['build_uuid']}/resume"
    await shuttle.until_shown(path, lambda resumes: resumes)
    assert (await shuttle.until(f"/{app}-passing/1-r1"))["state"] == "succeeded"
    assert (await shuttle.get(f"/-/state/builds/{failed['lasting']['build_uuid']}/resume")).json == []


async def test_a_planned_resume_is_shown_until_it_is_cancelled(shuttle: Shuttle, app: str):
    """Before, no answer said when, or whether, a failed build would be resumed by itself."""
    wanted = {"after_seconds": 3600, "attempts": 2}
    source = {"url": data_url({"build.sh": QUOTA})}
    await shuttle.submit(f"/{app}/1", arguments={"RETRYABLE": True}, source=source, auto_resume=wanted)
    assert (await shuttle.build(f"/{app}/1"))["auto_resume"] is None, "it has not failed yet"
    failed = await shuttle.until(f"/{app}/1", "failed")
    planned, record = failed["auto_resume"], f"/-/state/builds/{failed['build_uuid']}"
    assert planned["attempts_left"] == 2
    wait = datetime.fromisoformat(planned["resume_at"]) - datetime.fromisoformat(failed["timestamps"]["finished_at"])
    assert abs(wait - timedelta(hours=1)) < timedelta(seconds=1)
    assert (await shuttle.get(record)).json["auto_resume"]["attempts_left"] == 2
    assert (await shuttle.delete(f"/{app}/1")).status == 200
    shown = [(await shuttle.get(path)).json["auto_resume"] for path in (f"/{app}/1", record)]
    assert shown == [None, None]


@pytest.mark.slow
async def test_build_resumed_by_one_api_is_known_to_the_other(shuttle: Shuttle, app: str):
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


async def test_build_whose_source_is_no_longer_stored_is_not_built_again_without_one(shuttle: Shuttle, app: str):
    """Before, the new build was recorded, and failed; retention deletes sources long before records."""
    source = {"url": data_url({"build.sh": "#!/bin/sh\nexit 3\n"})}
    await shuttle.submit(f"/{app}/1", source=source)
    failed = await shuttle.until(f"/{app}/1")
    await shuttle.services.objects.delete(source_object(failed["build_uuid"]))
    for path in (f"/-/state/builds/{failed['build_uuid']}/resume", f"/{app}/1/rebuild"):
        refused = await shuttle.ask("POST", path, json={})
        assert (refused.status, "no longer stored" in refused.text) == (409, True)
    body = {"resume_from": {"build_id": "1"}, "source": source}
    assert (await shuttle.ask("POST", f"/{app}/2", json=body)).status == 200


@pytest.mark.parametrize("way", ["resume", "rebuild"])
async def test_long_id_is_cut_for_the_next_build(shuttle: Shuttle, app: str, way: str):
    """Before, the id of the new build was too long for every path: it could be neither read nor stopped."""
    old, platform = "n" * 120, "p" * 7
    source = {"url": data_url({"build.sh": "#!/bin/sh\nexit 3\n"})}
    await shuttle.submit(f"/{app}/{old}", source=source, platforms=[platform])
    failed = await shuttle.until(f"/{app}/{old}")
    path = f"/-/state/builds/{failed['build_uuid']}/resume" if way == "resume" else f"/{app}/{old}/rebuild"
    made = await again(shuttle, path, {} if way == "resume" else None)
    build_id = made["build_number"] if way == "resume" else made["build_id"]
    assert build_id == f"{'n' * 117}-{'r' if way == 'resume' else 'b'}1"
    build = await shuttle.until(f"/{app}/{build_id}")
    assert [child["build_id"] for child in build["children"]] == [f"{build_id}-{platform}"]


async def test_only_a_failed_build_is_resumed(shuttle: Shuttle, app: str):
    await shuttle.submit(f"/{app}/1", source={"url": data_url({"build.sh": "#!/bin/sh\n"})})
    await shuttle.until(f"/{app}/1")
    for build_id, status in (("1", 409), ("none", 404)):
        body = {"resume_from": {"build_id": build_id}}
        assert (await shuttle.ask("POST", f"/{app}/2", json=body)).status == status


LEAVES = """#!/bin/sh
set -eu
curl -fsS -o bldst "$BLDST_API_URL/bldst"
if [ -z "${RESUME_MODE-}" ]; then
  head -c 300000 /dev/urandom >disk.img
  sha256sum <disk.img
  python3 bldst checkpoint disk --state 20 --artifact disk.img --var "vm_id=i 1"
  python3 bldst variable set "$BLDST_BUILD_ID" --key password --value s3cret-value --sensitive
  exit 3
fi
sha256sum <resume/disk.img
ls -l resume/variables/password | cut -c1-10
printf '%s, ' "$(cat resume/variables/vm_id)" >&2
[ "$(cat resume/variables/password)" = s3cret-value ] && echo same
cat resume/variables/password
"""


@pytest.mark.slow
async def test_resumed_build_finds_files_and_variables_of_the_failed_one(shuttle: Shuttle, app: str):
    await shuttle.submit(f"/{app}/1", source={"url": data_url({"build.sh": LEAVES})})
    failed = await shuttle.until(f"/{app}/1", seconds=60)
    assert failed["state"] == "failed"
    before = (await shuttle.whole_log(f"/{app}/1")).decode()
    digest = before.split("  -\n")[0][-64:]
    # The build in between leaves nothing of its own: it has not repeated the state that made the files.
    fails = {"url": data_url({"build.sh": "#!/bin/sh\nexit 3\n"})}
    for build_id, old, source in (("2", "1", fails), ("3", "2", {"url": data_url({"build.sh": LEAVES})})):
        body = {"resume_from": {"build_id": old}, "source": source}
        assert (await shuttle.ask("POST", f"/{app}/{build_id}", json=body)).status == 200
        resumed = await shuttle.until(f"/{app}/{build_id}", seconds=60)
    log = (await shuttle.whole_log(f"/{app}/3")).decode()
    assert resumed["state"] == "succeeded", log
    assert "-----> Fetching resume/disk.img\n" in log
    assert f"{digest}  -\n" in log
    assert "-rw-------\n" in log
    assert "i 1, " in log
    assert "same\n[secret]" in log, "sensitive variables are masked"
    assert "resume" in [stage["stage"] for stage in resumed["stages"]]


@pytest.mark.slow
async def test_folder_resume_of_the_source_is_not_overwritten(shuttle: Shuttle, app: str):
    await shuttle.submit(f"/{app}/1", source={"url": data_url({"build.sh": LEAVES})})
    await shuttle.until(f"/{app}/1", seconds=60)
    files = {"build.sh": "#!/bin/sh\ncat resume/cv.txt; ls resume\n", "resume/cv.txt": "mine\n"}
    body = {"resume_from": {"build_id": "1"}, "source": {"url": data_url(files)}}
    assert (await shuttle.ask("POST", f"/{app}/2", json=body)).status == 200
    await shuttle.until(f"/{app}/2", seconds=60)
    log = (await shuttle.whole_log(f"/{app}/2")).decode()
    assert "-----> The source has a folder resume," in log
    assert "mine\ncv.txt\n" in log


@pytest.mark.parametrize("damage", ["deleted", "changed"])
async def test_build_whose_files_are_lost_or_changed_is_not_resumed(
    shuttle: Shuttle, app: str, damage: str, tmp_path: Path
):
    uuid = (await shuttle.ask("POST", "/-/state/builds", json={"build_number": app})).json["id"]
    path = f"/-/state/builds/{uuid}"
    assert (await shuttle.ask("PUT", f"{path}/artifacts/disk/content", data=b"bytes")).status == 201
    await shuttle.ask("PUT", path, json={"status": "failed"})
    between = (await shuttle.ask("POST", f"{path}/resume", json={})).json["id"]
    await shuttle.ask("PUT", f"/-/state/builds/{between}", json={"status": "failed"})
    stored = artifact_object(uuid, "disk")
    await shuttle.services.objects.delete(stored)
    if damage == "changed":
        (tmp_path / "other").write_bytes(b"other")
        await shuttle.services.objects.put(stored, tmp_path / "other", content_type="text/plain")
    for resumed in (uuid, between):
        refused = await shuttle.ask("POST", f"/-/state/builds/{resumed}/resume", json={})
        assert (refused.status, "The artifact disk " in refused.json["detail"]) == (409, True)
