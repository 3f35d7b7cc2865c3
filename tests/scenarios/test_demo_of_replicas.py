"""`shuttle demo --replicas`: the owner of the app is killed, and another replica continues its build and its log."""

import re
import signal
import tempfile
from pathlib import Path

import pytest

from tests.support.demo_process import check_ports_are_closed, run_shuttle

pytestmark = pytest.mark.timeout(180)

# Jenkins, S3, three replicas, the balancer and the receiver.
_ADDRESSES = 7


async def test_the_demo_shows_that_another_replica_continues_the_build(tmp_path: Path):
    demo = await run_shuttle("demo", "--replicas", "3", "--kafka", cwd=tmp_path)
    assert await demo.ended() == 0, demo.text
    assert demo.lines[-1] == "succeeded"
    shown = [re.fullmatch(r" *[\d.]+ s  (\w+) +(.*)", line) for line in demo.lines]
    events = [(line[1], line[2]) for line in shown if line]

    def texts(kind: str) -> list[str]:
        return [text for other, text in events if other == kind]

    assert [text.split()[0] for text in texts("status")] == ["queued", "pending", "succeeded"]
    [killed], [taken], [continued] = texts("kill"), texts("takeover"), texts("reader")
    assert killed.split(",")[0] != taken.split()[0]
    size = int(re.search(r"after (\d+) bytes", killed)[1])
    assert f"from {size} on" in continued, "the reader gets every byte once"
    assert [line for line in texts("log") if line.startswith("line")] == [f"line {n} of 30" for n in range(1, 31)]
    assert re.search(
        r"^  log +\d+ bytes, equal to what the receiver and the reader at replica-\d got$", demo.text, re.MULTILINE
    )
    assert re.search(r"^  kafka +\d+ bytes consumed, equal as well$", demo.text, re.MULTILINE)
    check_ports_are_closed(demo, _ADDRESSES)


async def test_an_interrupted_demo_with_replicas_leaves_nothing_behind(tmp_path: Path):
    with tempfile.TemporaryDirectory() as temporary:
        Path(temporary).chmod(0o755)  # for root PostgreSQL runs as another user
        demo = await run_shuttle("demo", "--replicas", "2", cwd=tmp_path, TMPDIR=temporary)
        database = await demo.until(r"PostgreSQL at 127\.0\.0\.1:(\d+)")
        await demo.until(r"log +line 1 of 30")
        demo.process.send_signal(signal.SIGTERM)
        assert await demo.ended() == 128 + signal.SIGTERM
        demo.lines.append(f"http://127.0.0.1:{database[1]}")
        check_ports_are_closed(demo, _ADDRESSES)
        assert list(Path(temporary).iterdir()) == []
