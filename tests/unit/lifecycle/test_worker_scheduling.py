"""The worker's scheduling: staging slots, build slots, and a database that does not answer."""

from pathlib import Path
from typing import Any

import pytest

from shuttle.errors import ObjectStoreError, StoreError
from shuttle.store.transitions import grant_slots
from tests.support.inprocess import running_shuttle, script_request
from tests.support.receivers import Receiver, answering


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

        async def fail_at_first(build_uuid: str | None = None) -> Any:
            tries.append(build_uuid)
            if len(tries) == 1:
                raise StoreError("The database cannot be used now (disk full).")
            return await open_sinks(build_uuid)

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
