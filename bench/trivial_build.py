"""Measures the phases of a build that does nothing, from the POST to the final webhook, with the emulated Jenkins.

For comparison: the time that this Jenkins takes from a trigger to the end of a pipeline of one `sh` step.
"""

import asyncio
import statistics
import sys
import tempfile
from datetime import datetime
from pathlib import Path

import aiohttp

from bench.product import load_average
from jenkins_pipelines.models import Pipeline, Sh, Stage
from jenkins_pipelines.render import render
from tests.support.product import TOKEN, USER, Product, running_product

BUILDS = 15
PHASES = ("accepted_at", "staged_at", "queued_at", "running_at", "finished_at")
BARE = "bare one-sh pipeline"
_SCRIPT = "#!/bin/sh\necho done\n"


async def run() -> list[dict[str, float]]:
    """The phases of each build in seconds, and of a plain Jenkins build in between."""
    measured = []
    with tempfile.TemporaryDirectory() as folder:
        async with running_product(Path(folder)) as product:
            bare = BarePipeline(product)
            await bare.create()
            for number in range(BUILDS):
                bare_seconds = await bare.seconds(number + 1)
                receiver = product.receiver(f"r{number}")
                clock = asyncio.get_running_loop().time
                posted_at = clock()
                await product.submit("app", str(number), _SCRIPT, receiver)
                answered_at = clock()
                await receiver.until(lambda receiver=receiver: receiver.final is not None)
                told_at = clock()
                build = await product.build("app", str(number))
                at = [datetime.fromisoformat(build["timestamps"][name]).timestamp() for name in PHASES]
                measured.append(
                    {
                        "answer": answered_at - posted_at,
                        "stage": at[1] - at[0],
                        "prepare and trigger": at[2] - at[1],
                        "to the claim": at[3] - at[2],
                        "build": at[4] - at[3],
                        "to the webhook": told_at - posted_at - (at[4] - at[0]) - (answered_at - posted_at),
                        "POST to final webhook": told_at - posted_at,
                        BARE: bare_seconds,
                    }
                )
    return measured[1:]  # the first one creates the job


class BarePipeline:
    """A job in the same Jenkins with one step that prints the same line."""

    def __init__(self, product: Product) -> None:
        self._session = product.session
        self._url = f"http://127.0.0.1:{product.jenkins_port}"
        self._login = {"Authorization": aiohttp.encode_basic_auth(USER, TOKEN)}

    async def create(self) -> None:
        """Create the job."""
        pipeline = Pipeline(
            name="bare", description="", parameters=(), stages=(Stage(name="build", steps=(Sh(script=_SCRIPT),)),)
        )
        config = render(pipeline, agent_label=None).config_xml
        await self._post("/createItem?name=bare", data=config, headers={"Content-Type": "application/xml"})

    async def seconds(self, number: int) -> float:
        """The seconds from the trigger of its build `number` to its end."""
        clock = asyncio.get_running_loop().time
        began_at = clock()
        await self._post("/job/bare/build?delay=0sec")
        while await self._is_building(number):
            await asyncio.sleep(0.005)
        return clock() - began_at

    async def _is_building(self, number: int) -> bool:
        async with self._session.get(f"{self._url}/job/bare/{number}/api/json", headers=self._login) as response:
            return response.status == 404 or bool((await response.json())["building"])

    async def _post(self, path: str, *, headers: dict[str, str] | None = None, **sent: object) -> None:
        async with self._session.post(self._url + path, headers=self._login | (headers or {}), **sent) as response:  # type: ignore[arg-type]
            if response.status not in {200, 201}:
                raise SystemExit(f"unexpected: {response.status} from {path}")


def main() -> int:
    """Print medians and maxima in milliseconds."""
    measured = asyncio.run(run())
    print(f"{'phase':>22} {'median':>8} {'max':>8}   ms over {len(measured)} builds   {load_average()}")
    for name in measured[0]:
        values = [phases[name] * 1000 for phases in measured]
        goal = "   goal ≤ 1000" if name == "POST to final webhook" else ""
        print(f"{name:>22} {statistics.median(values):>8.0f} {max(values):>8.0f}{goal}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
