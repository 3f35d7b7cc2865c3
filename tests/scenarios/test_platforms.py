"""SIGKILL of the shuttle while the branches of a build for several platforms run and end."""

from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.support.faulty_proxy import faulty_proxy
from tests.support.product import running_product

pytestmark = pytest.mark.asyncio


async def test_records_of_platforms_survive_kills_and_end_once(tmp_path: Path):
    """One branch ends while the shuttle is down, one loses the answer to its end, and one still runs."""
    async with faulty_proxy("") as to_shuttle, running_product(tmp_path, BUILD_SHUTTLE_HOST=to_shuttle.url) as product:
        to_shuttle.target = product.url
        receiver = product.receiver()
        ran, gates = tmp_path / "ran", {name: tmp_path / f"{name}.gate" for name in ("aws", "azure", "gcp")}
        script = (
            f"echo $PLATFORM >>{ran}\nmkdir dist; echo made >dist/$PLATFORM\necho begun\n"
            f"while [ ! -e {tmp_path}/$PLATFORM.gate ]; do sleep 0.05; done\n"
            "echo done\n[ $PLATFORM != gcp ] || exit 3\n"
        )
        await product.submit("app", "1", script, receiver, platforms=list(gates))
        await receiver.until(lambda: receiver.log.count(b"begun\n") == len(gates), 60)
        await product.shuttle.kill()
        gates["aws"].touch()
        await product.shuttle.start()
        to_shuttle.fault = end_of("azure")
        gates["azure"].touch()
        await to_shuttle.until_hits(1, 60)
        await product.shuttle.kill()
        to_shuttle.stop_faults()
        await product.shuttle.start()
        gates["gcp"].touch()
        build = await product.until_state("app", "1", "failed", "succeeded", seconds=60)
        assert (build["reason"], build["message"]) == ("platform_failed", "The build failed for: gcp.")
        ends = {child["platform"]: (child["state"], child["reason"]) for child in build["children"]}
        assert ends == dict.fromkeys(("aws", "azure"), ("succeeded", None)) | {"gcp": ("failed", "build_failed")}
        assert sorted(ran.read_text().split()) == ["aws", "azure", "gcp"]
        for child in build["children"]:
            url = f"{product.url}/-/state/builds/{child['build_uuid']}"
            found = await _json(product.session, url)
            assert len(found["failures"]) == (child["platform"] == "gcp")
            names = [state["stage"] for state in found["states"]]
            assert names == ["claim", "fetch", "build"] + ["artifacts"] * (child["platform"] != "gcp")
        await receiver.until(lambda: receiver.final is not None)
        assert receiver.words() == ["queued", "pending", "failed"]
        for name in gates:
            assert f"[{name}] done\n".encode() in await product.log("app", "1")


def end_of(branch: str) -> Any:
    """A fault for the first push that ends the branch's log: it arrives, and its answer is lost."""
    held: list[str] = []

    def fault(request: web.Request) -> str | None:
        if f"stream={branch}&" in request.path_qs and "&end=1&" in request.path_qs and not held:
            held.append(branch)
            return "mute"
        return None

    return fault


async def _json(session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    async with session.get(url) as response:
        found: dict[str, Any] = await response.json()
        return found
