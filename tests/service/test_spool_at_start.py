"""A spool that cannot be opened at the start ends its build; the service and other builds continue."""

import asyncio
import hashlib
from pathlib import Path

import pytest

from tests.support.inprocess import Shuttle, running_jenkins, running_shuttle

pytestmark = pytest.mark.slow

BROKEN, FINE = "/broken/1", "/fine/1"


def gated(folder: Path, name: str) -> str:
    gate = f"{folder}/{name}.gate"
    return f"echo ran >> {folder}/{name}.ran; echo begun; while [ ! -e {gate} ]; do sleep 0.1; done; echo over"


async def until_shown(shuttle: Shuttle, path: str, text: bytes) -> None:
    """Return once the log has that text; reading it opens the spool."""
    async with asyncio.timeout(20), shuttle.session.get(f"{shuttle.url}{path}/logs?follow=true") as response:
        seen = b""
        while text not in seen:
            seen += await response.content.readany()


async def test_a_spool_that_cannot_be_opened_ends_only_its_own_build(tmp_path):
    async with running_jenkins(tmp_path) as jenkins:
        async with running_shuttle(tmp_path, jenkins.url) as shuttle:
            for path, name in ((BROKEN, "broken"), (FINE, "fine")):
                await shuttle.submit(path, gated(tmp_path, name))
                await until_shown(shuttle, path, b"begun\n")
            broken = await shuttle.build(BROKEN)
            spool = shuttle.data / "spool" / f"{broken['build_uuid']}.log"
        spool.unlink()
        spool.mkdir()  # not even root can open a directory for writing
        async with running_shuttle(tmp_path, jenkins.url, PORT=str(shuttle.port)) as shuttle:
            ended = await shuttle.until(BROKEN)
            assert (ended["state"], ended["reason"]) == ("failed", "spool_unwritable")
            await jenkins.finished(broken["jenkins"]["job"], broken["jenkins"]["build_number"])
            answer = await shuttle.get(f"{BROKEN}/logs")
            assert (answer.status, answer.json["code"]) == (503, "spool_unwritable")
            (tmp_path / "fine.gate").touch()
            assert (await shuttle.until(FINE))["state"] == "succeeded"
            assert (await shuttle.get("/healthz")).status == 200
            spool.rmdir()
            log = await shuttle.whole_log(BROKEN)
            assert hashlib.sha256(log).hexdigest() == ended["log"]["sha256"]
            assert log.splitlines()[-1].startswith(b"-----> ")
            await shuttle.until_settled(broken["build_uuid"])
    assert (tmp_path / "broken.ran").read_text() == "ran\n"
    assert (tmp_path / "fine.ran").read_text() == "ran\n"


async def test_bytes_after_the_last_checkpoint_are_cut_before_they_are_read(tmp_path):
    """After a power cut, any bytes may follow the last checkpoint."""
    async with running_jenkins(tmp_path) as jenkins:
        async with running_shuttle(tmp_path, jenkins.url) as shuttle:
            await shuttle.submit(FINE, gated(tmp_path, "fine"))
            await until_shown(shuttle, FINE, b"begun\n")
            build_uuid = (await shuttle.build(FINE))["build_uuid"]
            spool = shuttle.data / "spool" / f"{build_uuid}.log"
        with spool.open("ab") as file:
            file.write(b"\0" * 4096)
        (tmp_path / "fine.gate").touch()
        async with running_shuttle(tmp_path, jenkins.url, PORT=str(shuttle.port)) as shuttle:
            log = await shuttle.whole_log(FINE)
            assert b"\0" not in log
            assert hashlib.sha256(log).hexdigest() == (await shuttle.build(FINE))["log"]["sha256"]
