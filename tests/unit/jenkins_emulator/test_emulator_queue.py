"""The queue with a clock that the test sets: quiet period, coalescing, serial jobs, executors, left items."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from jenkins_emulator.clock import ManualClock
from tests.unit.jenkins_emulator.conftest import Start
from tests.unit.jenkins_emulator.emulator_caller import Caller, until

SERIAL = "<org.jenkinsci.plugins.workflow.job.properties.DisableConcurrentBuildsJobProperty/>"
WAIT = "steps:sh 'echo inside; sleep 60'"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def caller(start: Start, session: aiohttp.ClientSession, clock: ManualClock) -> Caller:
    return Caller(session, (await start(clock=clock)).url)


async def moved(clock: ManualClock, seconds: float) -> None:
    clock.advance(seconds)
    await asyncio.sleep(0)


async def started(caller: Caller, item: int) -> int:
    """The number of the item's build."""

    async def has_number() -> bool:
        return (await caller.item(item)).get("executable") is not None

    await until(has_number)
    return int((await caller.item(item))["executable"]["number"])


async def end(caller: Caller, name: str, *numbers: int) -> None:
    for number in numbers:
        await caller.post(f"/job/{name}/{number}/stop")
        assert await caller.ended(name, number) == "ABORTED"


def kind(item: Any) -> str:
    return str(item["_class"]).removeprefix("hudson.model.Queue$")


async def test_build_starts_after_the_quiet_period(caller: Caller, clock: ManualClock) -> None:
    await caller.create("j", "steps:echo 'x'")
    answer = await caller.post("/job/j/build")
    number = int(answer.headers["Location"].rstrip("/").rsplit("/", 1)[1])
    item = await caller.item(number)
    assert kind(item) == "WaitingItem"
    assert item["why"] == "In the quiet period. Expires in 5 sec"
    assert item["timestamp"] == item["inQueueSince"] + 5000
    await moved(clock, 0.15)
    assert (await caller.item(number))["why"] == "In the quiet period. Expires in 4.8 sec"
    await moved(clock, 5)
    assert await started(caller, number) == 1
    assert kind(await caller.item(number)) == "LeftItem"
    assert await caller.ended("j") == "SUCCESS"


async def test_waiting_items_with_equal_parameters_are_coalesced(caller: Caller, clock: ManualClock) -> None:
    await caller.create("j", "steps:echo 'x'", parameters=("WHO",))
    first = await caller.trigger("j", delay="5sec", WHO="a")
    assert await caller.trigger("j", delay="5sec", WHO="a", UNKNOWN="dropped") == first
    assert await caller.trigger("j", delay="5sec", WHO="b") != first
    causes = (await caller.item(first))["actions"][1]["causes"]
    assert len(causes) == 2
    await moved(clock, 6)
    number = await started(caller, first)
    assert await caller.ended("j", number) == "SUCCESS"
    assert (await caller.console("j", number)).count("Started by user admin\n") == 2
    assert await caller.trigger("j", WHO="a") != first, (
        "an item that has left the queue coalesces with no further trigger"
    )


async def test_builds_of_a_serial_job_run_one_after_another(caller: Caller) -> None:
    await caller.create("j", WAIT, parameters=("N",), properties=SERIAL)
    items = [await caller.trigger("j", N=str(n)) for n in (1, 2, 3)]
    assert await started(caller, items[0]) == 1
    blocked = [await caller.item(item) for item in items[1:]]
    assert [kind(item) for item in blocked] == ["BlockedItem", "BlockedItem"]
    assert {item["why"] for item in blocked} == {"Build #1 is already in progress (ETA: N/A)"}
    assert all(item["blocked"] and item["buildableStartMilliseconds"] for item in blocked)
    listed = (await caller.get("/queue/api/json?tree=items[id,why,task[name],actions[parameters[name,value]]]")).json
    assert [item["id"] for item in listed["items"]] == items[1:]
    await end(caller, "j", 1)
    assert await started(caller, items[1]) == 2
    assert (await caller.post(f"/queue/cancelItem?id={items[2]}")).status == 204
    cancelled = await caller.item(items[2])
    assert (kind(cancelled), cancelled["cancelled"], cancelled["executable"]) == ("LeftItem", True, None)
    await end(caller, "j", 2)


async def test_options_of_a_script_apply_after_its_first_run(caller: Caller) -> None:
    script = "pipeline {\n agent any\n options { disableConcurrentBuilds() }\n stages {\n stage('a') {\n steps {\n"
    script += "sh 'echo inside; sleep 60'\n}\n}\n}\n}"
    await caller.create("j", script=script, parameters=("N",))
    first, second = await caller.trigger("j", N="1"), await caller.trigger("j", N="2")
    assert {await started(caller, first), await started(caller, second)} == {1, 2}
    await end(caller, "j", 1)
    third = await caller.trigger("j", N="3")
    assert kind(await caller.item(third)) == "BlockedItem"
    await end(caller, "j", 2)
    await end(caller, "j", await started(caller, third))


async def test_build_that_left_the_queue_waits_for_a_free_executor(caller: Caller, clock: ManualClock) -> None:
    await caller.create("j", WAIT, parameters=("N",))
    for n in (1, 2):
        await caller.trigger("j", N=str(n))
        await caller.shows("inside\n", "j", n)
    third = await caller.trigger("j", N="3")
    assert await started(caller, third) == 3
    assert (await caller.build("j", 3))["building"]
    [waiting] = (await caller.get("/queue/api/json")).json["items"]
    assert kind(waiting) == "BuildableItem"
    assert waiting["task"]["_class"].endswith("$PlaceholderTask")
    assert waiting["why"] == "Waiting for next available executor on \u2018Built-In Node\u2019"
    await moved(clock, 16)
    await caller.shows(
        "Still waiting to schedule task\nWaiting for next available executor on \u2018Built-In Node\u2019\n", "j", 3
    )
    running = (await caller.get("/computer/api/json?tree=computer[executors[currentExecutable[number]]]")).json
    executors = running["computer"][0]["executors"]
    assert [executor["currentExecutable"]["number"] for executor in executors] == [1, 2]
    await end(caller, "j", 1)
    await caller.shows("inside\n", "j", 3)
    assert (await caller.get("/queue/api/json")).json["items"] == []
    await end(caller, "j", 2, 3)


async def test_one_executor_runs_all_builds_one_after_another(
    start: Start, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    caller = Caller(session, (await start(tmp_path / "narrow", executors=1)).url)
    alone = "mkdir ../alone; rmdir ../alone"
    await caller.create("j", f"steps:sh '{alone}'", parameters=("N",))
    await asyncio.gather(*(caller.trigger("j", N=str(n)) for n in range(12)))
    assert [await caller.ended("j", n) for n in range(1, 13)] == ["SUCCESS"] * 12
    assert (await caller.get("/queue/api/json")).json["items"] == []


async def test_build_waiting_for_an_executor_can_be_stopped(caller: Caller) -> None:
    await caller.create("j", WAIT, parameters=("N",))
    for n in ("1", "2", "3"):
        await caller.trigger("j", N=n)
    await caller.shows("[Pipeline] node\n", "j", 3)
    await end(caller, "j", 3)
    await end(caller, "j", 1, 2)


async def test_build_with_unknown_label_waits_with_a_reason(caller: Caller) -> None:
    script = "pipeline {\n agent { label 'gpu' }\n stages {\n stage('a') {\n steps {\n echo 'x'\n}\n}\n}\n}"
    await caller.create("j", script=script)
    await caller.trigger("j")
    await caller.shows("[Pipeline] node\n", "j")
    [waiting] = (await caller.get("/queue/api/json")).json["items"]
    assert waiting["why"] == "There are no nodes with the label \u2018gpu\u2019"
    assert (await caller.post(f"/queue/item/{waiting['id']}/cancelQueue")).status == 204
    assert await caller.ended("j") == "ABORTED"


async def test_quieting_down_delays_new_builds(caller: Caller) -> None:
    await caller.create("j", "steps:echo 'x'")
    assert (await caller.post("/quietDown")).status == 302
    item = await caller.trigger("j")
    held = await caller.item(item)
    assert (kind(held), held["why"]) == ("BlockedItem", "Jenkins is about to shut down")
    assert (await caller.get("/api/json?tree=quietingDown")).json["quietingDown"] is True
    assert (await caller.post("/cancelQuietDown")).status == 302
    assert await caller.ended("j", await started(caller, item)) == "SUCCESS"


async def test_left_item_is_forgotten_after_five_minutes(caller: Caller, clock: ManualClock) -> None:
    await caller.create("j", "steps:echo 'x'")
    item = await caller.trigger("j")
    await started(caller, item)
    await moved(clock, 299.9)
    assert (await caller.get(f"/queue/item/{item}/api/json")).status == 200
    await moved(clock, 0.1)
    assert (await caller.get(f"/queue/item/{item}/api/json")).status == 404


async def test_item_can_leave_before_its_build_exists(
    start: Start, session: aiohttp.ClientSession, clock: ManualClock, tmp_path: Any
) -> None:
    caller = Caller(session, (await start(tmp_path / "slow", clock=clock, start_seconds=1.0)).url)
    await caller.create("j", "steps:echo 'x'")
    item = await caller.trigger("j")
    left = await caller.item(item)
    assert (kind(left), left["cancelled"], left["executable"], left["why"]) == ("LeftItem", False, None, None)
    await moved(clock, 1)
    assert await started(caller, item) == 1


async def test_deleting_a_job_cancels_its_items_and_ends_its_builds(caller: Caller) -> None:
    await caller.create("j", WAIT, parameters=("N",))
    await caller.trigger("j", N="1")
    await caller.shows("inside\n", "j")
    waiting = await caller.trigger("j", delay="60sec", N="2")
    deleted = await caller.post("/job/j/doDelete")
    assert (deleted.status, deleted.headers["Location"]) == (302, "/")
    assert (await caller.get("/job/j/1/api/json")).status == 404
    item = await caller.item(waiting)
    assert (kind(item), item["cancelled"]) == ("LeftItem", True)
    assert item["task"]["color"] in ("disabled", "disabled_anime")

    async def executors_are_free() -> bool:
        return bool((await caller.get("/computer/api/json?tree=computer[idle]")).json["computer"][0]["idle"])

    await until(executors_are_free)
    await caller.create("j", "steps:echo 'new'")
    assert (await caller.get("/job/j/api/json?tree=builds[number],nextBuildNumber")).json["nextBuildNumber"] == 1
    await caller.trigger("j")
    assert await caller.ended("j") == "SUCCESS"
