"""The examples in examples/state run on an agent, and report their states."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.inprocess import Shuttle
from tests.support.product import data_url

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]
_EXAMPLES = Path(__file__).parents[3] / "examples" / "state"


def source_of(name: str, **more: str) -> dict[str, str]:
    files = {path.name: path.read_text("utf-8") for path in (_EXAMPLES / name).iterdir()}
    return {"url": data_url({**files, **more})}


async def record_of(shuttle: Shuttle, path: str) -> Any:
    build = await shuttle.until(path, seconds=60)
    return (await shuttle.get(f"/-/state/builds/{build['build_uuid']}")).json


def reported(record: Any) -> list[int]:
    return [state["state"] for state in record["states"] if state["stage"] is None]


async def test_simple_example_reports_its_steps(shuttle: Shuttle, app: str):
    await shuttle.submit(f"/{app}/1", source=source_of("simple"), arguments={"VERSION": "7"})
    record = await record_of(shuttle, f"/{app}/1")
    assert (record["status"], reported(record)) == ("completed", [20, 50, 75])
    artifacts = (await shuttle.get(f"/-/state/builds/{record['id']}/artifacts")).json
    assert {(each["artifact_name"], each["is_final"]) for each in artifacts} == {("image", True), ("image.txt", False)}


async def test_simple_example_reports_its_failure(shuttle: Shuttle, app: str):
    await shuttle.submit(f"/{app}/1", source=source_of("simple"), arguments={"EXPECTED": "8"})
    record = await record_of(shuttle, f"/{app}/1")
    assert (record["status"], record["current_state"]) == ("failed", 75)
    assert record["failures"][0]["error_message"] == "The step at state 75 failed."


@pytest.mark.parametrize("broken", ["", "azure"])
async def test_multi_platform_example_has_a_record_for_each_platform(shuttle: Shuttle, app: str, broken: str):
    await shuttle.submit(f"/{app}/1", source=source_of("multi-platform"), arguments={"BROKEN": broken})
    record = await record_of(shuttle, f"/{app}/1")
    ends = {child["build_number"]: (child["status"], child["image_id"]) for child in record["children"]}
    assert record["status"] == ("failed" if broken else "completed")
    wanted = {f"1-{name}": ("completed", f"image-{name}") for name in ("aws", "azure", "gcp")}
    assert ends == wanted | ({"1-azure": ("failed", None)} if broken else {})
    log = (await shuttle.whole_log(f"/{app}/1")).decode()
    assert ("No machine is free at azure." in log) is bool(broken)


async def test_resumable_example_does_not_repeat_what_is_done(shuttle: Shuttle, app: str):
    await shuttle.submit(f"/{app}/1", source=source_of("resumable"))
    failed = await record_of(shuttle, f"/{app}/1")
    assert (failed["status"], failed["current_state"]) == ("failed", 40)
    assert failed["failures"][0]["error_message"] == "The build failed."
    body = {"resume_from": {"build_id": "1"}, "source": source_of("resumable", mended="")}
    assert (await shuttle.ask("POST", f"/{app}/2", json=body)).status == 200
    resumed = await record_of(shuttle, f"/{app}/2")
    assert (resumed["status"], reported(resumed)) == ("completed", [40, 60])
    log = (await shuttle.whole_log(f"/{app}/2")).decode()
    assert f"State 20 is skipped, done in build {failed['id']}.\n" in log
    assert "configured disk-of-1\n" in log
    assert "tested disk-of-1\n" in log
