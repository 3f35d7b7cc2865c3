"""The wall clocks of three replicas are ten minutes apart: nothing is decided by them, and the replicas say so."""

import asyncio
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.counted_builds import CountedBuilds
from tests.support.product import Product, running_replicas
from tests.support.separate_replicas import owner_of, until_owner_is_not

pytestmark = [pytest.mark.timeout(180), pytest.mark.long]

SHIFTS = (-600, 0, 600)
TREE = Path(__file__).parents[2]


def clock_set_by(seconds: int) -> dict[str, str]:
    """The environment of a process whose wall clock differs by that much."""
    return {"PYTHONPATH": f"{TREE / 'tests/support/shifted_clock'}:{TREE}", "TESTS_CLOCK_SECONDS": str(seconds)}


async def test_replicas_whose_clocks_are_ten_minutes_apart(tmp_path: Path):
    each = [clock_set_by(seconds) for seconds in SHIFTS]
    async with running_replicas(
        tmp_path, len(SHIFTS), executors=16, each=each, MAXIMUM_PARALLEL_BUILDS="16"
    ) as product:
        for index, seconds in enumerate(SHIFTS):
            await says_that_its_clock_is_off(product.at(index), seconds)
        assert "differ by 600 s" in await doctor(product, 2)
        builds = CountedBuilds(product)
        for index in range(len(SHIFTS)):
            # Two of each, so that one waits for its turn. Their limits are shorter than the difference of the clocks.
            for number in ("1", "2"):
                await builds.submit(f"app{index}", number, at=index, part_seconds=0.3, timeout_seconds=60)
        endless = [product.receiver(f"endless{index}") for index in range(len(SHIFTS))]
        for index, receiver in enumerate(endless):
            script = "#!/bin/sh\necho begun; sleep 600\n"
            await product.at(index).submit(f"endless{index}", "1", script, receiver, timeout_seconds=15)
        for receiver in endless:
            await receiver.until(lambda receiver=receiver: b"begun" in receiver.log)
        for index in range(len(SHIFTS)):  # their logs are read at the owner, by signed requests
            for asked in range(len(SHIFTS)):
                assert b"begun" in await product.at(asked).log(f"endless{index}", "1")
        lost = product.replicas[2]
        apps = [f"{name}2" for name in ("app", "endless") if await owner_of(product, f"{name}2") is lost]
        assert apps == ["app2", "endless2"]
        await lost.kill()
        await until_owner_is_not(product, lost, apps)
        await lost.start()
        await builds.until_whole()
        for index, receiver in enumerate(endless):
            await receiver.until(lambda receiver=receiver: receiver.final, 40)
            build = await product.build(f"endless{index}", "1")
            assert (build["state"], build["reason"]) == ("timedout", "timeout")
        builds.assert_no_bug_was_logged()


async def says_that_its_clock_is_off(product: Product, seconds: int) -> None:
    """Ready, but degraded if its clock differs; the times in its responses are those of its own clock."""
    async with product.session.get(f"{product.url}/readyz") as response:
        answer = await response.json()
    assert response.status == 200
    found = re.search(r"differ by (\d+) s", answer["checks"]["clock"])
    assert (answer["status"], found and int(found[1])) == (("degraded", 600) if seconds else ("OK", None))
    told = datetime.strptime(response.headers["Date"], "%a, %d %b %Y %H:%M:%S %Z").replace(tzinfo=UTC)
    assert abs(told - datetime.now(UTC) - timedelta(seconds=seconds)) < timedelta(seconds=30)


async def doctor(product: Product, index: int) -> str:
    """What `shuttle doctor` says with the clock and settings of a replica."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "shuttle", "doctor", env=product.replicas[index].environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    return output.decode()
