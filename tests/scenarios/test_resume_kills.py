"""SIGKILL before a planned resume, and during the call to a CI system: one successor, one call.

With one process the same one starts again; of two replicas the other one takes the app over.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from shuttle.build import State
from tests.support.product import Process, Product, Receiver, running_replicas
from tests.support.separate_replicas import owner_of
from tests.support.serving import serving
from tests.support.shuttle_process import shuttle_process

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

# Longer than the lease of a replica, so that the app is taken over before the time.
AFTER_SECONDS = 4
FAILS_ONCE = """#!/bin/sh
echo "${{RESUME_MODE-first}}" >>{ran}
[ -z "${{RESUME_MODE-}}" ] || exit 0
curl -fsS -o report.sh "$BLDST_API_URL/report.sh"
. ./report.sh
report_post failures '{{"error_message": "There is no room.", "retryable": true}}'
exit 3
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def replicas(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Product]:
    async with running_replicas(tmp_path_factory.mktemp("replicas"), 2) as product:
        yield product


@pytest.mark.long
async def test_planned_resume_after_a_restart(tmp_path: Path):
    """Without a Jenkins: the source of the build, and of its successor, does not exist."""
    url, process = shuttle_process(tmp_path)
    async with missing_source() as (source, reported), aiohttp.ClientSession() as session:
        await process.start()
        try:
            wanted = {"source": {"url": source}, "pipeline": "script", "auto_resume": {"after_seconds": 2}}
            await answer(session, "POST", f"{url}/app/1", wanted)
            build = await answer(session, "GET", f"{url}/app/1")
            failure = {"error_message": "There is no room.", "retryable": True}
            await answer(session, "POST", f"{url}/-/state/builds/{build['build_uuid']}/failures", failure)
            reported.set()
            failed = await until_ended(session, f"{url}/app/1")
            await process.restart()
            assert (await resumed_once(session, url, failed))["reason"] == "source_not_found"
        finally:
            await process.kill()


@asynccontextmanager
async def missing_source() -> AsyncIterator[tuple[str, asyncio.Event]]:
    """The URL of a source that does not exist, and the event before which the server does not answer so."""
    reported = asyncio.Event()

    async def refuse(_: web.Request) -> web.Response:
        await reported.wait()
        return web.Response(status=404)

    app = web.Application()
    app.router.add_get("/source", refuse)
    async with serving(app) as url:
        yield f"{url}/source", reported


async def test_planned_resume_of_a_lost_replica(replicas: Product):
    ran = replicas.folder / "ran"
    await replicas.submit("app", "1", FAILS_ONCE.format(ran=ran), auto_resume={"after_seconds": AFTER_SECONDS})
    failed = await until_ended(replicas.session, f"{replicas.url}/app/1")
    lost = await owner_of(replicas, "app")
    assert lost is not None
    await lost.kill()
    await until_taken(replicas, "app", lost)
    await lost.start()
    assert (await resumed_once(replicas.session, replicas.url, failed))["state"] == "succeeded"
    assert ran.read_text().split() == ["first", "true"]


async def until_taken(product: Product, app_id: str, lost: Process) -> None:
    """Wait until another replica owns the app."""
    postgres = product.postgres
    assert postgres is not None
    owners = f"SELECT name FROM apps JOIN replicas ON owner = instance WHERE app_id = '{app_id}'"
    query = f"{owners} AND name NOT LIKE '%-{lost.pid}'"
    await postgres.until("apps", lambda: bool(postgres.query(query)))


async def resumed_once(session: aiohttp.ClientSession, url: str, failed: dict[str, Any]) -> dict[str, Any]:
    """Wait until one build has resumed the failed one, not before its time, and has ended; returns it."""
    path = f"{url}/-/state/builds/{failed['build_uuid']}/resume"
    async with asyncio.timeout(40):
        while not (resumes := await answer(session, "GET", path)):
            await asyncio.sleep(0.05)
    planned_at = datetime.fromisoformat(failed["auto_resume"]["resume_at"])
    assert datetime.fromisoformat(resumes[0]["created_at"]) >= planned_at
    successor = await until_ended(session, f"{url}/app/1-r1")
    assert [resume["id"] for resume in await answer(session, "GET", path)] == [successor["build_uuid"]]
    assert (await answer(session, "GET", f"{url}/app/1"))["auto_resume"] is None
    return successor


async def until_ended(session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    async with asyncio.timeout(40):
        while not State((build := await answer(session, "GET", url))["state"]).final:
            await asyncio.sleep(0.05)
    found: dict[str, Any] = build
    return found


async def test_calls_to_the_ci_system_of_a_lost_replica(replicas: Product):
    """One call is lost, of the other one its answer. The other replica repeats both with their webhook-ids, once."""
    replicas.balancer.out.add(replicas.ports[1])
    calls = [await held_call(replicas, "lost", take_it=False), await held_call(replicas, "mute", take_it=True)]
    await replicas.replicas[0].kill()
    replicas.balancer.out.clear()
    for call in calls:
        call.released.set()
        await call.receiver.until(lambda call=call: len(call.receiver.statuses) == call.sent)
    await replicas.replicas[0].start()
    for call in calls:
        async with asyncio.timeout(20):
            while (await answer(replicas.session, "GET", call.url))[0]["orchestration_status"] != "triggered":
                await asyncio.sleep(0.05)
        assert (await answer(replicas.session, "POST", call.url, call.wanted))["id"] == call.successor
        assert len(set(call.receiver.webhook_ids)) == 1
        assert [status["resumed_build_id"] for status in call.receiver.statuses] == [call.successor] * call.sent


@dataclass
class HeldCall:
    """A call to a CI system that has arrived and gets no answer before `released`.

    `url` and `wanted` are those of the request to resume, `successor` is the new record. `sent` is how often the
    receiver gets the call in the end.
    """

    receiver: Receiver
    released: asyncio.Event
    url: str
    wanted: dict[str, Any]
    successor: str
    sent: int


async def held_call(product: Product, project: str, *, take_it: bool) -> HeldCall:
    receiver = product.receiver(project)
    arrived, released = hold_first(receiver, take_it=take_it)
    session, state = product.session, f"{product.url}/-/state"
    await answer(session, "POST", f"{state}/projects", {"name": project})
    build = await answer(session, "POST", f"{state}/builds", {"project_id": project, "build_number": "1"})
    path = f"{state}/builds/{build['id']}"
    await answer(session, "POST", f"{path}/failures", {"error_message": "It broke."})
    wanted = {"orchestration_config": {"trigger_webhook": f"{receiver.url}/status"}}
    request = await answer(session, "POST", f"{path}/resume", wanted)
    await asyncio.wait_for(arrived.wait(), 20)
    return HeldCall(receiver, released, f"{path}/resume", wanted, request["id"], 1 + take_it)


def hold_first(receiver: Receiver, *, take_it: bool) -> tuple[asyncio.Event, asyncio.Event]:
    """Hold the answer to the first call, accepted or not: the events that it has arrived, and that it may be given."""
    arrived, released, take = asyncio.Event(), asyncio.Event(), receiver.on_status

    async def hold(request: web.Request) -> web.Response:
        if arrived.is_set():
            return await take(request)
        await request.read()
        if take_it:
            await take(request)
        arrived.set()
        await released.wait()
        return web.Response(status=500)  # nobody gets this answer: the sender was killed

    receiver.on_status = hold  # type: ignore[method-assign]
    return arrived, released


async def answer(session: aiohttp.ClientSession, method: str, url: str, body: Any = None) -> Any:
    """The answer to a call, which is repeated if no replica could answer it."""
    sent = {} if body is None else {"json": body}
    while True:
        async with session.request(method, url, **sent) as response:
            if response.status in {502, 503}:
                await asyncio.sleep(0.05)
                continue
            assert response.status in {200, 201}, await response.text()
            return await response.json()
