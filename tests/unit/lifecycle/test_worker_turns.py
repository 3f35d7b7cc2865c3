"""The worker's turns: who stages, and what a build that has ended may keep from others."""

from pathlib import Path
from typing import Any

import pytest

from shuttle.errors import ObjectStoreError, StoreError
from tests.inprocess import running_shuttle, script_request
from tests.receivers import Receiver, answering


async def test_a_build_whose_log_cannot_be_archived_keeps_nobody_from_staging(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("shuttle.worker._STAGED_AT_ONCE", 1)
    async with running_shuttle(tmp_path) as shuttle:
        put = shuttle.ports.objects.put

        async def refuses_logs(name: str, path: Path, **given: Any) -> None:
            if name.endswith(".log"):
                raise ObjectStoreError("The object store takes no logs.")
            await put(name, path, **given)

        monkeypatch.setattr(shuttle.ports.objects, "put", refuses_logs)
        refused = script_request() | {"source": {"url": "data:,no-archive"}}
        for path in ("/one/1", "/one/2"):
            assert (await shuttle.post(path, refused)).status == 200
        assert (await shuttle.until("/one/1"))["reason"] == "archive_unknown"
        await shuttle.submit("/two/1")
        await shuttle.until_shown("/two/1", lambda build: build["timestamps"]["staged_at"], seconds=5)
        assert (await shuttle.until("/one/2"))["reason"] == "archive_unknown"


async def test_a_log_is_sent_once_the_database_answers_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It was away as the sinks of a build that was just accepted were read."""
    monkeypatch.setattr("shuttle.worker._STORE_PAUSE_SECONDS", 0.05)
    async with Receiver(answering(200)) as receiver, running_shuttle(tmp_path) as shuttle:
        open_sinks, tries = shuttle.ports.store.open_sinks, []

        async def away_at_first(build_uuid: str | None = None) -> Any:
            tries.append(build_uuid)
            if len(tries) == 1:
                raise StoreError("The database cannot be used now (disk full).")
            return await open_sinks(build_uuid)

        monkeypatch.setattr(shuttle.ports.store, "open_sinks", away_at_first)
        await shuttle.submit("/one/1", webhooks={"logs": receiver.url})
        await shuttle.delete("/one/1")
        await shuttle.until_shown("/one/1", lambda build: build["sinks"][0]["state"] == "done", seconds=5)
    assert len(tries) > 1
