"""`GET …/{n}/logs` as text and as `{"output":…}`, and logs of the old shuttle."""

import asyncio
import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
import pytest_asyncio

from tests.contract.legacy.caller import LegacyApp
from tests.support.answer import Answer
from tests.support.inprocess import Shuttle, running_shuttle

pytestmark = pytest.mark.asyncio(loop_scope="module")

JSON = "application/json"


def output(answer: Answer) -> str:
    assert answer.status == 200, answer.body
    assert answer.headers["Content-Type"].startswith(JSON)
    assert list(answer.json) == ["output"]
    text: str = answer.json["output"]
    return text


async def test_text_log_is_equal_in_both_apis(app: LegacyApp):
    await app.submit(7, "echo '  indented ünd \"quoted\" \\ '")
    build = await app.until(7)
    answer = await app.logs(7)
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert '\n  indented ünd "quoted" \\ \n' in answer.body.decode()
    assert len(answer.body) == build["log"]["bytes"]


ASKED: list[dict[str, str]] = [
    {"Accept": JSON},
    {"Accept": "application/json; charset=utf-8"},
    {"Content-Type": JSON},
    {"Content-Type": "application/json; charset=utf-8"},
    {"Content-Type": JSON, "Accept": "*/*"},
    {"Content-Type": JSON, "Accept": JSON},
    {"Accept": "application/json, */*"},
]
NOT_ASKED: list[dict[str, str]] = [
    {},
    {"Accept": "*/*"},
    {"Accept": "text/plain"},
    {"Accept": "text/plain, application/json"},
    {"Accept": "application/json, text/*;q=0.5"},
    {"Accept": "text/html,*/*", "Content-Type": JSON},
    {"Content-Type": "text/plain"},
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ended(shuttle: Shuttle) -> LegacyApp:
    """An app whose build 7 is over and has unusual characters in its log."""
    app = LegacyApp(shuttle)
    await app.submit(7, "echo '  \"quoted\" ünd \\ 🚀'\nprintf 'no end'")
    await app.until(7)
    return app


@pytest.mark.parametrize("headers", ASKED, ids=str)
async def test_log_is_json_if_requested(ended: LegacyApp, headers: dict[str, str]):
    assert output(await ended.logs(7, **headers)).encode() == (await ended.logs(7)).body


@pytest.mark.parametrize("headers", NOT_ASKED, ids=str)
async def test_log_is_text_by_default(waiting: LegacyApp, headers: dict[str, str]):
    await waiting.submit(7)
    answer = await waiting.logs(7, **headers)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/plain; charset=utf-8")


@pytest.mark.slow
async def test_both_formats_are_available_while_the_build_runs(app: LegacyApp, tmp_path: Path):
    gate = tmp_path / "gate"
    await app.submit(7, f"echo first\nwhile [ ! -e {gate} ]; do sleep 0.1; done\necho second")
    async with asyncio.timeout(20):
        while b"\nfirst\n" not in (await app.logs(7)).body:
            await asyncio.sleep(0.02)
    now = output(await app.logs(7, Accept=JSON))
    assert "\nfirst\n" in now
    assert "second" not in now
    gate.touch()
    await app.until(7)
    assert output(await app.logs(7, Accept=JSON)).startswith(now)


async def test_log_before_the_build_is_empty_or_the_preamble(waiting: LegacyApp):
    await waiting.submit(7)
    assert output(await waiting.logs(7, Accept=JSON)).encode() == (await waiting.logs(7)).body


LINES = 300_000


@pytest.mark.slow
async def test_long_log_is_complete_as_text_and_cut_to_its_end_as_json(app: LegacyApp):
    """The text is complete; the JSON is one string, which clients hold in memory several times."""
    await app.submit(7, f'seq -f "%.0f of {LINES} lines, some of them with \\"quotes\\"" 1 {LINES}')
    assert (await app.until(7))["state"] == "succeeded"
    text = (await app.logs(7)).body.decode()
    assert f"\n{LINES} of {LINES} lines" in text
    url = app.shuttle.url + app.path(7) + "/logs"
    async with app.shuttle.session.get(url, headers={"Accept": JSON}) as response:
        first = await response.content.readany()
        assert "Content-Length" not in response.headers
        capped = json.loads(first + await response.read())["output"]
    assert len(capped) < len(text)
    notice, _, tail = capped.partition("\n")
    assert notice
    assert text.endswith(tail)
    assert f"\n{notice}\n" not in text


@pytest.mark.slow
async def test_reader_that_disconnects_does_not_affect_others(app: LegacyApp):
    await app.submit(7, "seq 1 200000")
    await app.until(7)
    url = app.shuttle.url + app.path(7) + "/logs"
    async with aiohttp.ClientSession() as session, session.get(url, headers={"Accept": JSON}) as response:
        await response.content.read(10)
        response.close()
    assert output(await app.logs(7, Accept=JSON)).endswith("\n")


@pytest.mark.parametrize("form", ["text", "json"])
async def test_logs_of_the_old_shuttle_are_found(waiting: LegacyApp, form: str):
    (waiting.shuttle.data / "objects").mkdir(exist_ok=True)
    left = waiting.shuttle.data / "objects" / f"{waiting.app_id}-41.logs"
    left.write_text('what the "old" one ünd said\n')
    if form == "text":
        answer = await waiting.logs(41)
        assert (answer.status, answer.body.decode()) == (200, 'what the "old" one ünd said\n')
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    else:
        assert output(await waiting.logs(41, Accept=JSON)) == 'what the "old" one ünd said\n'


async def test_old_log_that_is_not_utf_8_is_returned_as_json(waiting: LegacyApp):
    (waiting.shuttle.data / "objects").mkdir(exist_ok=True)
    (waiting.shuttle.data / "objects" / f"{waiting.app_id}-42.logs").write_bytes(b"cut \xe2\x82 \xff\x00 here\n")
    assert output(await waiting.logs(42, Accept=JSON)).startswith("cut ")


async def test_log_of_an_unknown_build_gets_404(waiting: LegacyApp):
    for headers in ({}, {"Accept": JSON}):
        assert (await waiting.logs(7, **headers)).status == 404
    assert (await waiting.shuttle.get(f"/plain-{uuid4()}x/7/logs")).status == 404


@pytest.mark.slow
async def test_archived_log_is_also_stored_under_the_old_name(app: LegacyApp):
    """Clients and operators read `<app>-<app_uuid>-<n>.logs` from the bucket (docs/contract.md, "Objects")."""
    build_uuid = await app.submit(7)
    await app.until(7)
    await app.shuttle.until_settled(build_uuid)
    async with asyncio.timeout(10):
        while not (left := app.shuttle.data / "objects" / f"{app.app_id}-7.logs").exists():
            await asyncio.sleep(0.02)
    assert left.read_bytes() == (await app.logs(7)).body


async def test_log_of_a_new_build_is_always_text(app: LegacyApp):
    await app.shuttle.submit("/new-logs/1")
    await app.shuttle.until("/new-logs/1")
    answer = await app.shuttle.get("/new-logs/1/logs", headers={"Accept": JSON})
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(("excess_bytes", "is_whole"), [(0, True), (1, False)])
async def test_json_has_the_last_8_mib_of_a_log(waiting: LegacyApp, excess_bytes: int, is_whole: bool):
    line = b"x" * 63 + b"\n"
    log = b"a" * excess_bytes + line * (8 * 1024 * 1024 // len(line))
    (waiting.shuttle.data / "objects").mkdir(exist_ok=True)
    (waiting.shuttle.data / "objects" / f"{waiting.app_id}-43.logs").write_bytes(log)
    json_log = output(await waiting.logs(43, Accept=JSON))
    if is_whole:
        assert json_log == log.decode()
    else:
        assert json_log == f"-----> The first {1 + len(line)} bytes are left out.\n" + log[1 + len(line) :].decode()


@pytest.mark.parametrize(("memory_mib", "fetched"), [(4, 4), (8, 3)])
async def test_memory_for_reading_logs_is_limited_by_the_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory_mib: int, fetched: int
):
    """Half of the memory caches blocks of 1 MiB, the other half is for blocks that are being read."""
    starts: list[int] = []
    async with running_shuttle(tmp_path, SHUTTLE_LOG_MEMORY_BYTES=str(memory_mib * 2**20)) as shuttle:
        app = LegacyApp(shuttle)
        (shuttle.data / "objects").mkdir(exist_ok=True)
        (shuttle.data / "objects" / f"{app.app_id}-1.logs").write_bytes(b"x" * (3 * 2**20))
        opened = shuttle.services.objects.open

        def noted(name: str, *, start: int = 0, length: int | None = None) -> Any:
            starts.append(start)
            return opened(name, start=start, length=length)

        monkeypatch.setattr(shuttle.services.objects, "open", noted)
        for block in (0, 1, 2, 0):
            part = await shuttle.get(f"{app.path(1)}/logs", headers={"Range": f"bytes={block * 2**20}-{block * 2**20}"})
            assert (part.status, part.body) == (206, b"x")
    assert len(starts) == fetched
