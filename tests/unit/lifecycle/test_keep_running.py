"""A bug does not end what runs in the background."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from shuttle.lifecycle.abandoned import AbandonedRecords
from shuttle.lifecycle.delete import AppCleanup
from shuttle.worker import Worker
from tests.support.inprocess import running_shuttle


@pytest.mark.parametrize(
    ("of", "step"),
    [
        (AbandonedRecords, "end_all"),
        (AppCleanup, "_remove_jobs"),
        (Worker, "_schedule"),
    ],
    ids=lambda of: of if isinstance(of, str) else of.__name__,
)
async def test_a_loop_goes_on_after_a_bug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of: type, step: str):
    monkeypatch.setattr("shuttle.lifecycle.keep_running._PAUSE_SECONDS", 0.01, raising=False)
    monkeypatch.setattr("shuttle.worker._TICK_SECONDS", 0.01)
    real, tries, repeated = getattr(of, step), list[None](), asyncio.Event()

    async def fails_at_first(self: Any) -> Any:
        tries.append(None)
        if len(tries) == 1:
            raise RuntimeError("A bug.")
        repeated.set()
        return await real(self)

    monkeypatch.setattr(of, step, fails_at_first)
    with capture_logs() as logs:
        async with running_shuttle(tmp_path), asyncio.timeout(5):
            await repeated.wait()
    assert any(entry["log_level"] == "error" and "unexpectedly" in entry["event"] for entry in logs)
