"""SIGKILL between and during calls to the build state record: what was answered is there, nothing is there twice.

A client that gets no answer repeats its call, as `bldst` documents. Six starts take 7 s.
"""

import asyncio
import random
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.product import Process
from tests.support.shuttle_process import shuttle_process

SEED = 20261128
KILLS = 5
BUILDS = 2
CODES = (10, 48, 75)


async def repeated(session: aiohttp.ClientSession, method: str, path: str, body: Any) -> Any:
    """The answer of the call, which is repeated as long as the connection breaks."""
    while True:
        try:
            async with session.request(method, f"/-/state{path}", json=body) as response:
                answer = await response.json()
                assert response.status in {200, 201}, answer
                return answer
        except aiohttp.ClientError:
            await asyncio.sleep(0.02)  # nothing announces that the port is open again


async def record_build(session: aiohttp.ClientSession, number: int) -> str:
    """A build with three states, each with an artifact and a variable, that fails, is resumed and completed."""
    uuid = (await repeated(session, "POST", "/builds", {"build_number": f"b{number}", "platform": "aws"}))["id"]
    for code in CODES:
        path = f"/builds/{uuid}"
        await repeated(session, "POST", f"{path}/state", {"state_code": code, "status": "in_progress", "message": "x"})
        await repeated(session, "POST", f"{path}/artifacts", {"artifact_type": "disk", "artifact_path": f"s3://{code}"})
        await repeated(session, "POST", f"{path}/variables", {"variable_key": f"k{code}", "variable_value": str(code)})
        await repeated(session, "POST", f"{path}/state", {"state_code": code, "status": "completed"})
    await repeated(session, "POST", f"/builds/{uuid}/failures", {"state": -1, "error_message": "It broke."})
    request = await repeated(session, "POST", f"/builds/{uuid}/resume", {"resume_reason": "again"})
    await repeated(session, "POST", f"/builds/{uuid}/state", {"state_code": 100})
    assert request["build_id"] == uuid
    return str(uuid)


async def kill_repeatedly(process: Process) -> None:
    """Kill the process and start it again, KILLS times."""
    moments = random.Random(SEED)
    for _ in range(KILLS):
        await asyncio.sleep(moments.uniform(0.01, 0.12))  # the seeded moment itself
        await process.restart()


async def test_answered_calls_are_recorded_once(tmp_path: Path):
    url, process = shuttle_process(tmp_path)
    await process.start()
    try:
        async with aiohttp.ClientSession(url) as session:
            recording = (record_build(session, number) for number in range(BUILDS))
            *uuids, _ = await asyncio.gather(*recording, kill_repeatedly(process))
            listed = await repeated(session, "GET", "/builds", None)
            assert sorted(build["build_number"] for build in listed) == ["b0", "b0-r1", "b1", "b1-r1"]
            for uuid in uuids:
                build = await repeated(session, "GET", f"/builds/{uuid}", None)
                assert [(row["state"], row["status"]) for row in build["states"]] == [(c, "completed") for c in CODES]
                assert [row["error_message"] for row in build["failures"]] == ["It broke."]
                artifacts = await repeated(session, "GET", f"/builds/{uuid}/artifacts", None)
                assert [row["artifact_path"] for row in artifacts] == [f"s3://{code}" for code in CODES]
                variables = await repeated(session, "GET", f"/builds/{uuid}/variables/dict", None)
                assert variables == {f"k{code}": str(code) for code in CODES}
                [request] = await repeated(session, "GET", f"/builds/{uuid}/resume", None)
                assert request["orchestration_status"] == "completed"
    finally:
        await process.kill()
