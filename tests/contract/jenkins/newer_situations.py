"""Situations that scenarios of the newer recording create, and conditions that they wait for."""

from tests.contract.jenkins.job_xml import shuttle_xml
from tests.contract.jenkins.replay import Replay
from tests.contract.jenkins.situations import XML, finished

IGNORES_TERM = "echo up; trap : TERM; i=0; while [ $i -lt 60 ]; do i=$((i+1)); sleep 0.5; done"


def marker(number: int) -> str:
    return f"{number:08}-1111-4111-8111-111111111111"


async def create(replay: Replay, name: str, script: str = "echo up; sleep 60", **job) -> None:
    body = shuttle_xml(script, **job)
    answer = await replay.ask("POST", f"/createItem?name={replay.job(name)}", data=body, headers=XML)
    assert answer.status == 200


async def trigger(
    replay: Replay, name: str, recorded_item: int | None = None, number: int = 1, delay: str = "0sec"
) -> int:
    """Start a build outside the recording; returns its queue item, which stands for the recorded one."""
    query = f"BUILD_UUID={marker(number)}&SHUTTLE_TOKEN=tok-en-1&delay={delay}"
    answer = await replay.ask("POST", f"/job/{replay.job(name)}/buildWithParameters?{query}")
    assert answer.status == 201
    item = int(answer.headers["Location"].rstrip("/").rpartition("/")[2])
    assert recorded_item is None or replay.matches.same("item", recorded_item, item)
    return item


async def shows(replay: Replay, name: str, text: str, number: int = 1) -> None:
    path = f"/job/{replay.job(name)}/{number}/consoleText"

    async def seen() -> bool:
        return text in (await replay.ask("GET", path)).text

    await replay.server.until(seen)


async def running(replay: Replay, name: str, recorded_item: int | None = None, number: int = 1) -> None:
    """Start a build and wait until its script runs."""
    await trigger(replay, name, recorded_item, number)
    await shows(replay, name, "up\n", number)


async def is_over(replay: Replay, name: str, number: int = 1) -> None:
    await replay.server.until(lambda: finished(replay, name, number))


async def stop(replay: Replay, name: str, number: int = 1) -> None:
    assert (await replay.ask("POST", f"/job/{replay.job(name)}/{number}/stop")).status == 302
    await is_over(replay, name, number)


async def placeholders(replay: Replay, count: int) -> list[int]:
    """Wait until this many builds wait for an executor; returns their queue items, newest first."""
    found: list[int] = []

    async def wait() -> bool:
        queue = await replay.ask("GET", "/queue/api/json?tree=items[id,task[_class]]")
        tasks = [(item["id"], item["task"]["_class"]) for item in queue.json["items"]]
        found[:] = [item for item, kind in tasks if kind.endswith("$PlaceholderTask")]
        return len(found) == count

    await replay.server.until(wait)
    return found
