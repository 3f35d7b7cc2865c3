"""The listener of packer over REST in a process of its own: callers come and go, and the process ends as always."""

import signal
from pathlib import Path

import aiohttp
import pytest

from tests.support.free_port import free_port
from tests.support.shuttle_process import shuttle_process


@pytest.mark.slow
async def test_process_with_a_tls_listener_logs_no_error_and_stops_cleanly(tmp_path: Path):
    port = free_port()
    _, shuttle = shuttle_process(
        tmp_path,
        JENKINS_URL="http://u:t@127.0.0.1:9/",
        SHUTTLE_PACKERD_BIND=f"127.0.0.1:{port}",
        SHUTTLE_PACKERD_TLS_CERT="auto",
        SHUTTLE_PACKERD_ANONYMOUS="true",
    )
    await shuttle.start()
    async with aiohttp.ClientSession() as session:
        for headers in ({"Connection": "close"}, {}):
            async with session.get(f"https://127.0.0.1:{port}/health", ssl=False, headers=headers) as answer:
                assert answer.status == 200
    await shuttle.until_logged("SHUTTLE_PACKERD_ANONYMOUS")
    assert await shuttle.kill(signal.SIGTERM) == 0, shuttle.output()
    assert '"level": "error"' not in shuttle.output()
