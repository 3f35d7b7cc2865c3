"""Fixtures for tests of a build's steps."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.lifecycle.one_build import OneBuild, one_build


@pytest.fixture
def settings() -> dict[str, str]:
    """The settings of `one`; a test module or `parametrize` may replace them."""
    return {"SHUTTLE_TRIGGER_SETTLE_SECONDS": "0.02", "SHUTTLE_STOP_GRACE_SECONDS": "0.02"}


@pytest.fixture
async def one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]) -> AsyncIterator[OneBuild]:
    """A recorded build whose waits are short."""
    monkeypatch.setattr("shuttle.lifecycle.backoff._FIRST_SECONDS", 0.001)
    async with one_build(tmp_path, **settings) as one:
        yield one
