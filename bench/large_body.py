"""Measures how long a POST with a source of 45 MiB blocks the service's event loop."""

import asyncio
import base64
import json
import os
import sys
import tempfile
from pathlib import Path

SOURCE_BYTES = 45 * 1024 * 1024
POSTS = 3
_TICK_SECONDS = 0.001
_LISTED = 5


async def pauses(into: list[float]) -> None:
    """Collect how late each tick is."""
    clock = asyncio.get_running_loop().time
    while True:
        began_at = clock()
        await asyncio.sleep(_TICK_SECONDS)
        into.append(clock() - began_at - _TICK_SECONDS)


async def run() -> None:
    """The client is curl in its own process; the service runs in this one, so that its event loop can be observed."""
    from tests.support.inprocess import running_shuttle

    with tempfile.TemporaryDirectory() as folder:
        url = f"data:;base64,{base64.b64encode(os.urandom(SOURCE_BYTES)).decode()}"
        body = Path(folder) / "body.json"
        body.write_text(json.dumps({"source": {"url": url}, "pipeline": "script"}))
        async with running_shuttle(Path(folder)) as shuttle:
            for number in range(POSTS):
                seen: list[float] = []
                watch = asyncio.create_task(pauses(seen))
                words = ("curl", "-sf", "-H", "Content-Type: application/json", "-H", "Expect:")
                posting = await asyncio.create_subprocess_exec(
                    *words, "--data-binary", f"@{body}", f"{shuttle.url}/app-{number}/1", stdout=asyncio.subprocess.PIPE
                )
                answer, _ = await posting.communicate()
                watch.cancel()
                if posting.returncode != 0:
                    raise SystemExit(f"unexpected: {answer.decode()}")
                longest = " ".join(f"{seconds * 1000:.0f}" for seconds in sorted(seen, reverse=True)[:_LISTED])
                print(f"POST of {body.stat().st_size / 1e6:.0f} MB: longest pauses of the loop in ms: {longest}")


def main() -> int:
    """Print the longest pauses."""
    asyncio.run(run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
