"""The memory of fault 7 (docs/contract.md, "Faults of the old shuttle"), measured for the process."""

import asyncio
from pathlib import Path

import pytest

from tests.contract.legacy.caller import LegacyApp
from tests.support.product import running_product

pytestmark = pytest.mark.asyncio(loop_scope="module")

LOG_BYTES = 50_000_000
# The old shuttle needed 415 to 600 MB for such a log. bench/log_throughput measures the current memory exactly.
MOST_BYTES = 100_000_000


def peak_bytes(pid: int) -> int:
    """The peak of the process' memory (VmHWM)."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


@pytest.mark.slow
async def test_fault_7_log_of_50_mb_is_never_completely_in_memory(
    waiting: LegacyApp, builder_path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", builder_path)
    async with running_product(tmp_path) as product:
        before = peak_bytes(product.shuttle.pid)
        run = f"yes 'a line of some length, as builds print them by the thousand' | head -c {LOG_BYTES}"
        async with product.session.post(product.url, json=waiting.request(1, run)) as response:
            assert response.status == 200
        build = await product.until_state(waiting.app_id, "1", "succeeded", "failed", seconds=50)
        assert build["state"] == "succeeded"
        assert build["log"]["bytes"] > LOG_BYTES
        for accept in ("text/plain", "application/json"):
            url = f"{product.url}{waiting.path(1)}/logs"
            async with product.session.get(url, headers={"Accept": accept}) as response:
                async for _ in response.content.iter_chunked(1024 * 1024):
                    await asyncio.sleep(0)
        assert peak_bytes(product.shuttle.pid) - before < MOST_BYTES
