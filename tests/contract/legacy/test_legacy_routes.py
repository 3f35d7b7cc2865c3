"""The other routes of the older API: sources, stops, deletion of apps, statuses."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from shuttle.build import job_name_of
from tests.contract.legacy.caller import OK, LegacyApp, image_source
from tests.support.answer import Answer
from tests.support.inprocess import Jenkins, Shuttle, running_shuttle, script_request
from tests.support.product import archive

pytestmark = pytest.mark.asyncio(loop_scope="module")


def when(days: int) -> str:
    """A date this many days from today."""
    return (datetime.now(UTC) + timedelta(days=days)).date().isoformat()


# --- GET and HEAD of a source


async def test_source_is_returned_unchanged(waiting: LegacyApp):
    build_uuid = await waiting.submit(run="echo x")
    got, head = [await waiting.shuttle.ask(method, f"/{build_uuid}") for method in ("GET", "HEAD")]
    assert (got.status, got.body) == (200, archive({"Dockerfile": "FROM scratch\nRUN echo x\n"}))
    assert (head.status, head.body) == (200, b"")
    for name in ("Content-Length", "Content-Type"):
        assert head.headers[name] == got.headers[name]
    assert (got.headers["Content-Length"], got.headers["Content-Type"]) == (str(len(got.body)), "application/gzip")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_missing_source_gets_404(waiting: LegacyApp, method: str):
    answer = await waiting.shuttle.ask(method, f"/{uuid4()}")
    assert answer.status == 404
    if method == "GET":
        assert answer.json == {"status": "Not Found"}


async def test_source_of_a_build_that_never_got_it_gets_404(waiting: LegacyApp):
    build_uuid = await waiting.submit(sources="http://127.0.0.1:9/a.tar.gz")
    assert (await waiting.shuttle.ask("HEAD", f"/{build_uuid}")).status == 404


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_sources_of_the_old_shuttle_are_found_without_a_record(waiting: LegacyApp, method: str):
    left = str(uuid4())
    (waiting.shuttle.data / "objects").mkdir(exist_ok=True)
    (waiting.shuttle.data / "objects" / left).write_bytes(b"what the old one left")
    answer = await waiting.shuttle.ask(method, f"/{left}")
    assert (answer.status, answer.headers["Content-Length"]) == (200, "21")
    assert answer.body == (b"what the old one left" if method == "GET" else b"")


# --- DELETE of a build


async def test_delete_stops_a_running_build(app: LegacyApp):
    await app.submit(7, "sleep 300")
    await app.until(7, "running")
    answer = await app.stop(7)
    assert (answer.status, answer.body) == (200, OK)
    assert (await app.until(7))["state"] == "stopped"


async def test_delete_stops_a_build_while_jenkins_is_down(waiting: LegacyApp):
    await waiting.submit(7)
    assert (await waiting.stop(7)).body == OK
    build = await waiting.shuttle.build(waiting.path(7))
    assert (build["state"], build["reason"]) == ("stopped", "stopped")


@pytest.mark.slow
async def test_delete_of_an_ended_build_gets_200(app: LegacyApp):
    await app.submit(7)
    ended = await app.until(7)
    for _ in range(2):
        answer = await app.stop(7)
        assert (answer.status, answer.body) == (200, OK)
    assert await app.shuttle.build(app.path(7)) == ended


async def test_delete_of_an_unknown_build_gets_422(waiting: LegacyApp):
    assert (await waiting.stop(7)).status == 422
    await waiting.submit(7)
    assert (await waiting.stop(8)).status == 422


@pytest.mark.parametrize(("days", "status"), [(-1, 422), (1, 200), (400, 200)])
async def test_delete_of_a_possible_old_build_gets_200_during_the_migration(tmp_path: Path, days: int, status: int):
    async with running_shuttle(tmp_path, SHUTTLE_LEGACY_UNTIL=when(days)) as shuttle:
        app = LegacyApp(shuttle)
        answer = await app.stop(7)
        assert answer.status == status
        if status == 200:
            assert answer.body == OK
        for path in ("/plain/7", f"/{app.app_uuid}/7", f"/{app.app_id}x/7"):
            assert (await shuttle.delete(path)).status == 422


async def test_second_delete_of_a_new_build_gets_422_during_the_migration(tmp_path: Path):
    async with running_shuttle(tmp_path, SHUTTLE_LEGACY_UNTIL=when(1)) as shuttle:
        path = LegacyApp(shuttle).path(7)
        await shuttle.submit(path)
        assert [(await shuttle.delete(path)).status for _ in range(2)] == [200, 422]


async def test_delete_of_an_ended_new_build_gets_422(shuttle: Shuttle):
    await shuttle.submit("/new-routes/1")
    await shuttle.until("/new-routes/1")
    assert (await shuttle.delete("/new-routes/1")).status == 422


# --- DELETE of an app


async def test_deleted_app_has_its_builds_stopped_and_its_job_deleted(app: LegacyApp, jenkins: Jenkins):
    first, second = await app.submit(1, "sleep 300"), await app.submit(2, "sleep 300")
    await app.until_recorded(first, lambda build: build.state == "running")
    job = job_name_of(app.app_id)
    assert await jenkins.call("GET", f"/job/{job}/api/json") == 200
    answer = await app.delete()
    assert (answer.status, answer.body) == (200, OK)
    for build_uuid in (first, second):
        assert (await app.until_recorded(build_uuid)).state == "stopped"
    await job_is_gone(jenkins, job)


async def job_is_gone(jenkins: Jenkins, job: str) -> None:
    async with asyncio.timeout(20):
        while await jenkins.call("GET", f"/job/{job}/api/json") != 404:
            await asyncio.sleep(0.02)


@pytest.mark.slow
async def test_foreign_job_is_kept_and_does_not_block_other_deletions(
    app: LegacyApp, jenkins: Jenkins, builder_notes: Path
):
    job, other = job_name_of(app.app_id), LegacyApp(app.shuttle, builder_notes=builder_notes)
    config = (Path(__file__).parents[2] / "recordings" / "declarative" / "config.xml").read_bytes()
    headers = {"Content-Type": "application/xml"}
    assert await jenkins.call("POST", f"/createItem?name={job}", data=config, headers=headers) == 200
    for each in (app, other):
        await each.submit(1)
    assert (await app.until(1))["reason"] == "foreign_job"
    await other.until(1, "succeeded")
    for each in (app, other):
        assert (await each.delete()).body == OK
    await job_is_gone(jenkins, job_name_of(other.app_id))
    assert await jenkins.call("GET", f"/job/{job}/api/json") == 200


@pytest.mark.slow
async def test_job_that_jenkins_refuses_to_delete_blocks_no_other_and_is_deleted_later(
    app: LegacyApp, jenkins: Jenkins, builder_notes: Path
):
    """Each deletion makes the shuttle check all deleted apps again, the oldest first."""
    job, others = job_name_of(app.app_id), [LegacyApp(app.shuttle, builder_notes=builder_notes) for _ in range(2)]
    for each in (app, *others):
        await each.submit(1)
        await each.until(1, "succeeded")
    jenkins.fault = lambda request: (
        web.Response(status=500) if request.method == "DELETE" and job in request.path else None
    )
    try:
        with capture_logs() as lines:
            for each in (app, *others):
                assert (await each.delete()).body == OK
                await jenkins_was_asked_to_delete(jenkins, job_name_of(each.app_id))
            for other in others:
                await job_is_gone(jenkins, job_name_of(other.app_id))
    finally:
        jenkins.fault = None
    [line] = [each for each in lines if each.get("app_id") == app.app_id]
    assert (line["log_level"], job in line["error"]) == ("warning", True)
    await LegacyApp(app.shuttle).delete()
    await job_is_gone(jenkins, job)


async def jenkins_was_asked_to_delete(jenkins: Jenkins, job: str) -> None:
    async with asyncio.timeout(20):
        while not any(method == "DELETE" and job in path for method, path in jenkins.calls):
            await asyncio.sleep(0.02)


async def test_delete_of_an_unknown_app_gets_200(waiting: LegacyApp):
    answer = await waiting.delete()
    assert (answer.status, answer.body) == (200, OK)


@pytest.mark.slow
async def test_job_of_a_deleted_app_is_deleted_when_jenkins_is_back(app: LegacyApp, jenkins: Jenkins, tmp_path: Path):
    async with running_shuttle(tmp_path, jenkins.url) as shuttle:
        app.shuttle = shuttle
        await app.submit(1)
        await app.until(1)
        await jenkins.stop()
        try:
            waiting = await app.submit(2)
            assert (await app.delete()).body == OK
            assert (await app.until_recorded(waiting)).state == "stopped"
        finally:
            await jenkins.start()
        await job_is_gone(jenkins, job_name_of(app.app_id))


@pytest.mark.slow
async def test_job_of_a_deleted_app_is_deleted_after_a_restart(app: LegacyApp, jenkins: Jenkins, tmp_path: Path):
    async with running_shuttle(tmp_path, jenkins.url) as shuttle:
        app.shuttle = shuttle
        await app.submit(1)
        await app.until(1)
        await jenkins.stop()
        assert (await app.delete()).body == OK
    await jenkins.start()
    job = job_name_of(app.app_id)
    assert await jenkins.call("GET", f"/job/{job}/api/json") == 200
    async with running_shuttle(tmp_path, jenkins.url):
        await job_is_gone(jenkins, job)


@pytest.mark.slow
async def test_deleted_app_can_be_built_again(app: LegacyApp):
    await app.submit(1)
    await app.until(1)
    assert (await app.delete()).body == OK
    await app.submit(2, "echo back again")
    assert (await app.until(2))["state"] == "succeeded"


async def test_delete_of_an_app_that_is_not_legacy_deletes_nothing(idle: Shuttle):
    await idle.post("/plain-app/1", script_request())
    assert (await idle.delete("/plain-app")).status in {404, 405, 422}
    assert (await idle.build("/plain-app/1"))["state"] in {"recorded", "staging"}


# --- GET …/status


def status_of(answer: Answer) -> dict[str, object]:
    assert answer.status == 200, answer.body
    assert list(answer.json) == ["id", "building", "status", "type"]
    found: dict[str, object] = answer.json
    return found


@pytest.mark.parametrize("number", [7, "7"])
async def test_status_of_a_waiting_build_is_pending_with_an_integer_id(waiting: LegacyApp, number: object):
    await waiting.submit(number)
    assert status_of(await waiting.status(7)) == {"id": 7, "building": True, "status": "pending", "type": "jenkins"}


@pytest.mark.slow
@pytest.mark.parametrize(("run", "word"), [("true", "succeeded"), ("false", "failed")])
async def test_status_of_an_ended_build_is_final(app: LegacyApp, run: str, word: str):
    await app.submit(7, run)
    await app.until(7)
    assert status_of(await app.status(7)) == {"id": 7, "building": False, "status": word, "type": "jenkins"}


async def test_status_of_a_build_before_and_after_a_stop(app: LegacyApp):
    await app.submit(7, "sleep 300")
    await app.until(7, "running")
    assert status_of(await app.status(7))["status"] == "pending"
    await app.stop(7)
    await app.until(7)
    assert status_of(await app.status(7)) == {"id": 7, "building": False, "status": "stopped", "type": "jenkins"}


@pytest.mark.slow
async def test_status_of_a_timed_out_build_is_failed(app: LegacyApp, jenkins: Jenkins, tmp_path: Path):
    async with running_shuttle(tmp_path, jenkins.url, TIMEOUT_IN_MS="300") as shuttle:
        app.shuttle = shuttle
        await app.submit(7, "sleep 300")
        assert (await app.until(7))["state"] == "timedout"
        assert status_of(await app.status(7))["status"] == "failed"


async def test_status_of_an_unknown_build_gets_404(waiting: LegacyApp):
    assert (await waiting.status(7)).status == 404


@pytest.mark.slow
async def test_status_of_a_new_build_is_the_newest_webhook_body(shuttle: Shuttle):
    await shuttle.submit("/new-status/1")
    await shuttle.until("/new-status/1")
    assert (await shuttle.get("/new-status/1/status")).json["type"] == "build system"


async def test_legacy_builds_are_shown_by_the_new_api(waiting: LegacyApp):
    build_uuid = await waiting.submit(7, sources=image_source())
    build = await waiting.shuttle.build(waiting.path(7))
    assert (build["api"], build["build_uuid"], build["building"]) == ("legacy", build_uuid, False)
    assert (await waiting.shuttle.get("/-/builds")).json["builds"][0]["build_uuid"] == build_uuid
