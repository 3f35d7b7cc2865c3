"""The worker's scheduling: staging slots, build slots, and a database that does not answer."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from shuttle.build import Ending, State
from shuttle.clock import Anchor, read_boot
from shuttle.errors import BusyError, NotOwnerError, ObjectStoreError, OutcomeUnknownError, ShuttleError, StoreError
from shuttle.standing import Standing
from shuttle.store.accept import record_all
from shuttle.store.apps import mark_app_deleted, stop_builds
from shuttle.store.open_work import open_work
from shuttle.store.records import create_record
from shuttle.store.transitions import finish_build, grant_slots, mark_archived, request_stop
from shuttle.store.tx import Subscriptions
from tests.contract.store.test_records import new_record
from tests.support.inprocess import Shuttle, running_shuttle, script_request
from tests.support.receivers import Receiver, answering, hanging


async def test_a_build_whose_log_cannot_be_archived_holds_no_staging_slot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("shuttle.worker._MAX_STAGING", 1)
    async with running_shuttle(tmp_path) as shuttle:
        put = shuttle.services.objects.put

        async def put_without_logs(name: str, path: Path, **given: Any) -> None:
            if name.endswith(".log"):
                raise ObjectStoreError("The object store takes no logs.")
            await put(name, path, **given)

        monkeypatch.setattr(shuttle.services.objects, "put", put_without_logs)
        refused = script_request() | {"source": {"url": "data:,no-archive"}}
        for path in ("/one/1", "/one/2"):
            assert (await shuttle.post(path, refused)).status == 200
        assert (await shuttle.until("/one/1"))["reason"] == "archive_unknown"
        await shuttle.submit("/two/1")
        await shuttle.until_shown("/two/1", lambda build: build["timestamps"]["staged_at"], seconds=5)
        assert (await shuttle.until("/one/2"))["reason"] == "archive_unknown"


async def test_a_log_is_sent_once_the_database_answers_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The database failed while the sinks of a newly accepted build were read."""
    monkeypatch.setattr("shuttle.lifecycle.backoff._DATABASE_PAUSE_SECONDS", 0.05)
    async with Receiver(answering(200)) as receiver, running_shuttle(tmp_path) as shuttle:
        open_sinks, tries = shuttle.services.sinks.open_sinks, []

        async def fail_at_first(build_uuids: Sequence[str]) -> Any:
            tries.append(build_uuids)
            if len(tries) == 1:
                raise StoreError("The database cannot be used now (disk full).")
            return await open_sinks(build_uuids)

        monkeypatch.setattr(shuttle.services.sinks, "open_sinks", fail_at_first)
        await shuttle.submit("/one/1", webhooks={"logs": receiver.url})
        await shuttle.delete("/one/1")
        await shuttle.until_shown("/one/1", lambda build: build["sinks"][0]["state"] == "done", seconds=5)
    assert len(tries) > 1


async def test_a_build_starts_although_the_answer_to_its_slot_grant_was_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The COMMIT succeeded and its answer was lost, so no other build gets the slot."""
    monkeypatch.setattr("shuttle.worker._TICK_SECONDS", 0.05)
    async with running_shuttle(tmp_path, MAXIMUM_PARALLEL_BUILDS="1") as shuttle:
        run, granted = shuttle.services.database.run, []

        async def unanswered(query: Any, *args: Any, **kwargs: Any) -> Any:
            result = await run(query, *args, **kwargs)
            if query is grant_slots and result:
                granted.extend(result)
                raise StoreError("The database does not answer.")
            return result

        # Jenkins is unreachable, so the build that has the slot waits for it.
        await shuttle.submit("/one/1")
        await shuttle.until_shown("/one/1", lambda build: "Jenkins" in (build["waiting_for"] or ""))
        await shuttle.submit("/two/1")
        await shuttle.until_shown("/two/1", lambda build: "slots" in (build["waiting_for"] or ""))
        monkeypatch.setattr(shuttle.services.database, "run", unanswered)
        assert (await shuttle.delete("/one/1")).status == 200
        await shuttle.until_shown("/two/1", lambda build: "Jenkins" in (build["waiting_for"] or ""))
    assert len(granted) == 1


async def test_a_waiting_build_begins_although_nothing_said_that_it_has_a_slot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Any replica may grant the slot; the owner of the app gets a notice, and notices may be lost."""
    async with running_shuttle(tmp_path, MAXIMUM_PARALLEL_BUILDS="1") as shuttle:
        await shuttle.submit("/one/1")
        await shuttle.until_shown("/one/1", lambda build: "Jenkins" in (build["waiting_for"] or ""))
        await shuttle.submit("/two/1")
        await shuttle.until_shown("/two/1", lambda build: "slots" in (build["waiting_for"] or ""))
        monkeypatch.setattr(Subscriptions, "send", lambda *_: None)
        assert len(await shuttle.services.database.run(grant_slots, 2)) == 1
        await shuttle.worker.look()
        await shuttle.until_shown("/two/1", lambda build: "Jenkins" in (build["waiting_for"] or ""), seconds=5)


async def test_a_stopped_build_that_waits_for_staging_is_archived_although_nothing_said_that_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with Receiver(hanging) as server, running_shuttle(tmp_path) as shuttle:
        stalled = script_request() | {"source": {"url": f"{server.url}/source.tar.gz"}}
        assert (await shuttle.post("/one/1", stalled)).status == 200
        await shuttle.submit("/one/2")
        waiting = await shuttle.build("/one/2")
        monkeypatch.setattr(Subscriptions, "send", lambda *_: None)
        assert (await shuttle.delete("/one/2")).status == 200
        await shuttle.worker.look()
        await shuttle.until_settled(waiting["build_uuid"], seconds=5)


async def test_a_build_whose_app_another_replica_has_taken_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async def not_owned(*_: Any) -> None:
        raise NotOwnerError

    async with running_shuttle(tmp_path) as shuttle:
        monkeypatch.setattr("shuttle.worker.pursue", not_owned)
        dropped = asyncio.Event()
        shuttle.services.owned.subscribe(lambda _: dropped.set())
        with capture_logs() as logs:
            await shuttle.submit("/one/1")
            async with asyncio.timeout(5):
                await dropped.wait()
    assert {"event": "another replica has taken over an app", "app_id": "one", "log_level": "warning"} in logs


async def test_a_recorded_build_runs_although_its_request_was_answered_503(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The COMMIT succeeded and its answer was lost. An equal request then finds the build recorded."""
    async with Receiver(answering(200)) as receiver, running_shuttle(tmp_path) as shuttle:
        lose_one_answer(shuttle, record_all, monkeypatch)
        request = script_request(webhooks={"logs": receiver.url})
        refused = await shuttle.post("/one/1", request)
        assert (refused.status, int(refused.headers["Retry-After"]) > 0) == (503, True)
        assert "unknown whether the build was recorded" in refused.json["message"]
        assert (await shuttle.post("/one/1", request)).headers["Shuttle-Replayed"] == "true"
        await shuttle.until_shown("/one/1", lambda build: "Jenkins" in (build["waiting_for"] or ""), seconds=5)
        assert (await shuttle.delete("/one/1")).status == 200
        await shuttle.until_shown("/one/1", lambda build: build["sinks"][0]["state"] == "done", seconds=5)


async def test_a_waiting_build_ends_although_its_stop_was_answered_503(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with running_shuttle(tmp_path, MAXIMUM_PARALLEL_BUILDS="1") as shuttle:
        await shuttle.submit("/one/1")
        await shuttle.until_shown("/one/1", lambda build: "Jenkins" in (build["waiting_for"] or ""))
        await shuttle.submit("/two/1")
        waiting = await shuttle.until_shown("/two/1", lambda build: "slots" in (build["waiting_for"] or ""))
        monkeypatch.setattr(Subscriptions, "send", lambda *_: None)  # a lost answer has no notices
        lose_one_answer(shuttle, request_stop, monkeypatch)
        assert (await shuttle.delete("/two/1")).status == 503
        await shuttle.until_settled(waiting["build_uuid"], seconds=5)


async def test_a_failed_build_is_resumed_by_itself_after_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("shuttle.worker._TICK_SECONDS", 0.05)
    async with running_shuttle(tmp_path) as before:
        await before.submit("/one/1", auto_resume={})
        build = await before.until_shown("/one/1", lambda build: "Jenkins" in (build["waiting_for"] or ""))
        path = f"/-/state/builds/{build['build_uuid']}"
        await before.post(f"{path}/failures", {"error_message": "The account has no room.", "retryable": True})
        ending = Ending(State.FAILED, "build_failed", "The build failed.")
        await before.services.database.run(finish_build, build["build_uuid"], ending)
        await before.services.database.run(mark_archived, build["build_uuid"])
    async with running_shuttle(tmp_path) as after:
        clock = after.services.clock
        assert (await after.get(f"{path}/resume")).json == []
        clock.catch_up(Anchor(clock.steady() + timedelta(hours=1), read_boot()))
        (resume,) = await after.until_shown(f"{path}/resume", lambda resumes: resumes, seconds=5)
        assert (resume["build_number"], resume["request_source"]) == ("1-r1", "auto_resume")
        await after.until_shown("/one/1-r1", lambda build: "Jenkins" in (build["waiting_for"] or ""))


async def test_many_builds_of_a_deleted_app_are_stopped_in_several_transactions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Before, PostgreSQL ended the transaction after 2.5 s, so an app with some hundred builds was never deleted."""
    app = "/shop-5f0c7b9a-3c1d-4e55-9d0a-2b8f6a1c7e10"
    async with running_shuttle(tmp_path) as shuttle:
        for number in range(11):
            await shuttle.submit(f"{app}/{number}")
        run, sizes = shuttle.services.database.run, []

        async def counted(called: Any, *args: Any, **kwargs: Any) -> Any:
            if called is stop_builds:
                sizes.append(len(args[0]))
            return await run(called, *args, **kwargs)

        monkeypatch.setattr(shuttle.services.database, "run", counted)
        assert (await shuttle.delete(app)).status == 200
        assert sizes == [10, 1]
        for number in range(11):
            assert (await shuttle.build(f"{app}/{number}"))["state"] in {"stopped", "queued"}


async def test_one_call_deletes_an_app_whose_builds_cannot_be_ended_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Before, an app with more than 250 waiting builds was deleted by the third call on PostgreSQL."""
    app = "/shop-5f0c7b9a-3c1d-4e55-9d0a-2b8f6a1c7e10"
    async with running_shuttle(tmp_path) as shuttle:
        for number in range(12):
            await shuttle.submit(f"{app}/{number}")
        run, slow = shuttle.services.database.run, [StoreError("The database is too slow.")]

        async def in_time(called: Any, *args: Any, **kwargs: Any) -> Any:
            if called is stop_builds and slow:
                raise slow.pop()
            return await run(called, *args, **kwargs)

        monkeypatch.setattr(shuttle.services.database, "run", in_time)
        assert (await shuttle.delete(app)).status == 200
        for number in range(12):
            assert (await shuttle.until(f"{app}/{number}"))["state"] == "stopped"


async def test_builds_that_cannot_be_ended_together_are_ended_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Ten builds with 20 platforms are 210 ends: more than a transaction can make in the time that it has."""
    monkeypatch.setattr("shuttle.lifecycle.delete._STORE_PAUSE_SECONDS", 0.01, raising=False)
    monkeypatch.setattr("shuttle.lifecycle.backoff._DATABASE_PAUSE_SECONDS", 0.01)
    app = "/shop-5f0c7b9a-3c1d-4e55-9d0a-2b8f6a1c7e10"
    async with running_shuttle(tmp_path) as shuttle:
        for number in range(3):
            await shuttle.submit(f"{app}/{number}")
        run, failures = shuttle.services.database.run, {(await shuttle.build(f"{app}/1"))["build_uuid"]: 1}

        async def one_at_a_time(called: Any, *args: Any, **kwargs: Any) -> Any:
            if called is stop_builds and (len(args[0]) > 1 or failures.pop(args[0][0], 0)):
                raise StoreError("The database is too slow.")
            return await run(called, *args, **kwargs)

        monkeypatch.setattr(shuttle.services.database, "run", one_at_a_time)
        assert (await shuttle.delete(app)).status == 200
        for number in range(3):
            assert (await shuttle.until(f"{app}/{number}", seconds=5))["state"] == "stopped"
        assert failures == {}


async def test_a_record_of_a_deleted_app_ends_although_the_process_that_recorded_its_stop_died(tmp_path: Path):
    async with running_shuttle(tmp_path) as shuttle:
        run, vault = shuttle.services.database.run, shuttle.services.vault
        await run(create_record, new_record(vault, app_id="shop"))
        assert (await shuttle.build("/shop/r1"))["state"] == "running"
        await run(mark_app_deleted, "shop", Standing.CONTROLLER)
    async with running_shuttle(tmp_path) as shuttle:
        assert (await shuttle.until("/shop/r1", seconds=5))["state"] == "stopped"


@pytest.mark.parametrize("restarted", [True, False])
async def test_builds_of_a_deleted_app_end_although_nobody_was_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restarted: bool
):
    """The process that recorded their stops died, or the answer to the COMMIT was lost."""
    app = "shop-5f0c7b9a-3c1d-4e55-9d0a-2b8f6a1c7e10"
    async with running_shuttle(tmp_path) as shuttle:
        await shuttle.submit(f"/{app}/1")
        await shuttle.submit(f"/{app}/2")
        await shuttle.until_shown(f"/{app}/2", lambda build: "of this app" in (build["waiting_for"] or ""))
        if restarted:
            await shuttle.services.database.run(mark_app_deleted, app, Standing.CONTROLLER)
        else:
            lose_one_answer(shuttle, mark_app_deleted, monkeypatch)
            assert (await shuttle.delete(f"/{app}")).status == 503
            assert (await shuttle.until(f"/{app}/2", seconds=5))["state"] == "stopped"
    if restarted:
        async with running_shuttle(tmp_path) as shuttle:
            assert (await shuttle.until(f"/{app}/2", seconds=5))["state"] == "stopped"


async def test_the_job_of_an_app_is_removed_although_its_deletion_was_answered_503(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with running_shuttle(tmp_path) as shuttle:
        removed = asyncio.Event()

        async def removes(_job_name: str) -> None:
            removed.set()

        monkeypatch.setattr(shuttle.services.controllers.of("default"), "delete_job", removes)
        app = "/shop-5f0c7b9a-3c1d-4e55-9d0a-2b8f6a1c7e10"
        await shuttle.submit(f"{app}/1")
        await shuttle.delete(f"{app}/1")
        await shuttle.until_settled((await shuttle.build(f"{app}/1"))["build_uuid"])
        monkeypatch.setattr(Subscriptions, "send", lambda *_: None)
        lose_one_answer(shuttle, mark_app_deleted, monkeypatch)
        assert (await shuttle.delete(app)).status == 503
        async with asyncio.timeout(5):
            await removed.wait()


@pytest.mark.parametrize(
    "error",
    [
        BusyError("Bodies of other requests use all the disk space for bodies."),
        StoreError("The database cannot be used now (disk full)."),
    ],
    ids=["full body room", "refused transaction"],
)
async def test_request_that_certainly_recorded_nothing_starts_no_search_for_its_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: ShuttleError
):
    async with running_shuttle(tmp_path) as shuttle:
        run, searches = shuttle.services.database.run, []

        async def refused(called: Any, *args: Any, **kwargs: Any) -> Any:
            if called is record_all:
                raise error
            if called is open_work:
                searches.append(called)
            return await run(called, *args, **kwargs)

        monkeypatch.setattr(shuttle.services.database, "run", refused)
        assert (await shuttle.post("/one/1", script_request())).status == 503
        await shuttle.get("/one")  # a search begins at once
        assert searches == []


def lose_one_answer(shuttle: Shuttle, query: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next transaction of this query is committed, and its caller gets an error."""
    run, lost = shuttle.services.database.run, list[object]()

    async def unanswered(called: Any, *args: Any, **kwargs: Any) -> Any:
        result = await run(called, *args, **kwargs)
        if called is query and not lost:
            lost.append(result)
            raise OutcomeUnknownError("The database does not answer.")
        return result

    monkeypatch.setattr(shuttle.services.database, "run", unanswered)
