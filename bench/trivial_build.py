"""From the POST to the final webhook of a build that does nothing, by phase, with the embedded Jenkins."""

import asyncio
import statistics
import sys
import tempfile
from datetime import datetime
from pathlib import Path

BUILDS = 15
PHASES = ("accepted_at", "staged_at", "queued_at", "running_at", "finished_at")


async def run() -> list[dict[str, float]]:
    """Phases of each build in seconds."""
    from tests.product import running_product

    measured = []
    with tempfile.TemporaryDirectory() as folder:
        async with running_product(Path(folder)) as product:
            for number in range(BUILDS):
                receiver = product.receiver(f"r{number}")
                clock = asyncio.get_running_loop().time
                posted_at = clock()
                await product.submit("app", str(number), "#!/bin/sh\necho done\n", receiver)
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
                        "POST to final webhook": told_at - posted_at,
                    }
                )
    return measured[1:]  # the first one creates the job


def main() -> int:
    """Print medians and maxima in milliseconds."""
    measured = asyncio.run(run())
    print(f"{'phase':>22} {'median':>8} {'max':>8}   ms over {len(measured)} builds; goal: the last line ≤ 1000")
    for name in measured[0]:
        values = [phases[name] * 1000 for phases in measured]
        print(f"{name:>22} {statistics.median(values):>8.0f} {max(values):>8.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
