"""`GET /octhc`: the health probe of the old shuttle, with correct responses."""

from pathlib import Path

import pytest

from shuttle.errors import StoreError
from shuttle.store.probe import prove_writable
from shuttle.web import readiness
from tests.support.inprocess import Jenkins, Shuttle, running_shuttle

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(autouse=True)
def asked_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "_CACHE_SECONDS", 0)


async def test_health_is_good_when_database_and_jenkins_are_reachable(shuttle: Shuttle):
    answer = await shuttle.get("/octhc")
    assert (answer.status, answer.body) == (200, b"overall_status=good")


async def test_health_is_bad_when_jenkins_is_unreachable(idle: Shuttle):
    answer = await idle.get("/octhc")
    assert (answer.status, answer.body) == (503, b"overall_status=bad")


async def test_health_is_good_again_when_jenkins_is_back(shuttle: Shuttle, jenkins: Jenkins):
    await jenkins.stop()
    try:
        assert (await shuttle.get("/octhc")).status == 503
    finally:
        await jenkins.start()
    assert (await shuttle.get("/octhc")).status == 200


async def test_health_is_bad_when_the_database_fails(jenkins: Jenkins, tmp_path: Path):
    async with running_shuttle(tmp_path, jenkins.url) as shuttle:
        assert (await shuttle.get("/octhc")).status == 200
        await shuttle.services.database.close()
        with pytest.raises(StoreError):
            await shuttle.services.database.run(prove_writable)
        answer = await shuttle.get("/octhc")
        assert (answer.status, answer.body) == (503, b"overall_status=bad")
