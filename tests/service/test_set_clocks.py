"""The machine's clock is set while builds run: no limit comes earlier or later."""

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from shuttle.clock import Boot, Clock, read_boot
from tests.support.inprocess import running_jenkins, running_shuttle, script_request
from tests.support.receivers import Receiver, answering
from tests.unit.delivery.status_receiver import answers, receiving

pytestmark = pytest.mark.slow

HOUR_SECONDS = 3600.0
# The script of a build that does not end by itself.
SLEEP = "sleep 600"


class Wall:
    """The machine's clock, which a test sets, and the machine's boot."""

    def __init__(self) -> None:
        self.set_by_seconds = 0.0
        self.boot_id = read_boot().boot_id

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.set_by_seconds)

    def boot(self) -> Boot:
        return Boot(self.boot_id, read_boot().uptime_seconds)


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    wall = Wall()
    monkeypatch.setattr("shuttle.app.Clock", partial(Clock, wall=wall.now, boot=wall.boot))
    return wall


def waits_for_jenkins(build) -> bool:
    return "Jenkins" in (build["waiting_for"] or "")


async def test_setting_the_clock_forward_ends_no_build(tmp_path, wall: Wall):
    async with running_jenkins(tmp_path) as jenkins, running_shuttle(tmp_path, jenkins.url) as shuttle:
        await shuttle.submit("/app/1", SLEEP, timeout_seconds=600)
        await shuttle.until("/app/1", "running")
        wall.set_by_seconds = HOUR_SECONDS * 48
        # A signal makes the waiting task check the limit.
        shuttle.services.signals.wake((await shuttle.build("/app/1"))["build_uuid"])
        await shuttle.submit("/other/1")
        assert (await shuttle.until("/other/1"))["state"] == "succeeded"
        assert (await shuttle.build("/app/1"))["state"] == "running"
        await shuttle.delete("/app/1")
        await shuttle.until("/app/1")


async def test_setting_the_clock_back_does_not_extend_a_time_limit(tmp_path, wall: Wall):
    async with running_jenkins(tmp_path) as jenkins, running_shuttle(tmp_path, jenkins.url) as shuttle:
        await shuttle.submit("/app/1", SLEEP, timeout_seconds=1)
        await shuttle.until("/app/1", "running")
        wall.set_by_seconds = -HOUR_SECONDS
        ended = await shuttle.until("/app/1")
    assert (ended["state"], ended["reason"]) == ("timedout", "timeout")


async def test_setting_the_clock_back_does_not_extend_a_deadline(tmp_path, wall: Wall):
    async with running_shuttle(tmp_path, SHUTTLE_BUILD_DEADLINE_SECONDS="1") as shuttle:
        await shuttle.submit("/app/1")
        await shuttle.submit("/app/2")
        wall.set_by_seconds = -HOUR_SECONDS
        for path in ("/app/1", "/app/2"):
            ended = await shuttle.until(path)
            assert (ended["state"], ended["reason"]) == ("timedout", "deadline")


async def test_setting_the_clock_back_does_not_extend_the_time_for_a_source(tmp_path, wall: Wall):
    async with (
        Receiver(answering(503)) as host,
        running_shuttle(tmp_path, SHUTTLE_STAGE_TIMEOUT_SECONDS="2") as shuttle,
    ):
        await shuttle.post("/app/1", script_request() | {"source": {"url": f"{host.url}/a.tar.gz"}})
        await host.until(lambda: host.exchanges)
        wall.set_by_seconds = -HOUR_SECONDS
        assert (await shuttle.until("/app/1"))["reason"] == "source_unreachable"


async def test_setting_the_clock_forward_does_not_shorten_the_time_for_a_source(tmp_path, wall: Wall):
    async with Receiver(answering(503)) as host, running_shuttle(tmp_path) as shuttle:
        await shuttle.post("/app/1", script_request() | {"source": {"url": f"{host.url}/a.tar.gz"}})
        await host.until(lambda: host.exchanges)
        wall.set_by_seconds = HOUR_SECONDS * 2
        await host.until(lambda: len(host.exchanges) > 2)
        assert (await shuttle.build("/app/1"))["state"] == "staging"


async def test_setting_the_clock_back_delays_no_status(tmp_path, wall: Wall):
    async with (
        receiving(answers(500, 200)) as receiver,
        running_shuttle(tmp_path, SHUTTLE_WEBHOOK_SCHEDULE_SECONDS="0,1") as shuttle,
    ):
        await shuttle.submit("/app/1", webhooks={"status": receiver.url})
        await shuttle.until_shown("/app/1", lambda build: build["receivers"][0]["attempts"] == 1)
        wall.set_by_seconds = -HOUR_SECONDS
        await receiver.until(2)


@pytest.mark.parametrize("another_boot", [False, True])
async def test_setting_the_clock_forward_during_a_restart_ends_no_build(tmp_path, wall: Wall, another_boot):
    async with running_shuttle(tmp_path, SHUTTLE_BUILD_DEADLINE_SECONDS="600") as shuttle:
        await shuttle.submit("/app/1")
        await shuttle.until_shown("/app/1", waits_for_jenkins)
    wall.set_by_seconds = HOUR_SECONDS
    if another_boot:
        wall.boot_id = "another"
    async with running_shuttle(tmp_path, SHUTTLE_BUILD_DEADLINE_SECONDS="600") as shuttle:
        build = await shuttle.until_shown("/app/1", waits_for_jenkins)
        assert build["state"] == "staging"


async def test_setting_the_clock_back_during_a_restart_does_not_extend_a_deadline(tmp_path, wall: Wall):
    async with running_shuttle(tmp_path, SHUTTLE_BUILD_DEADLINE_SECONDS="1") as shuttle:
        await shuttle.submit("/app/1")
    wall.set_by_seconds = -HOUR_SECONDS
    async with running_shuttle(tmp_path, SHUTTLE_BUILD_DEADLINE_SECONDS="1") as shuttle:
        assert (await shuttle.until("/app/1"))["reason"] == "deadline"
