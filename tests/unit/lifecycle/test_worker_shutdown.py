"""The worker's shutdown leaves no task that would use the closed database."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from shuttle.store.ledger import has_open_sinks
from tests.support.inprocess import running_shuttle


async def test_shutdown_ends_the_task_of_a_build_that_has_just_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    queried = asyncio.Event()

    async def unanswered(query: Any, *args: Any, **kwargs: Any) -> Any:
        if query is has_open_sinks:
            queried.set()
            await asyncio.Event().wait()
        return await run(query, *args, **kwargs)

    async with running_shuttle(tmp_path) as shuttle:
        run = shuttle.services.database.run
        monkeypatch.setattr(shuttle.services.database, "run", unanswered)
        await shuttle.submit("/app/1")
        await shuttle.delete("/app/1")
        await shuttle.until("/app/1", "stopped")
        async with asyncio.timeout(5):
            await queried.wait()
        await shuttle.worker.close(grace_seconds=5)
        assert [task for task in asyncio.all_tasks() if task.get_name().startswith("build ")] == []
