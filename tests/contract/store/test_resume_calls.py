"""The call to a CI system that is to resume a record: cancelled once, and dispatchers learn of it."""

from dataclasses import replace

from shuttle.outgoing.endpoints import PayloadFormat
from shuttle.store import Topic
from shuttle.store.resume_calls import NewCall, cancel_call, record_call
from tests.support.shuttle_store import endpoint, new_build, record


async def test_notice_of_a_cancelled_call_names_the_build(database, vault, clock, outbox):
    build = (await record(database, vault, new_build(vault))).build
    receiver = replace(endpoint(vault, "http://ci.example/resume"), payload_format=PayloadFormat.RESUME)
    await database.run(record_call, build, NewCall(receiver, lambda _: b"{}"))

    async def due():
        return await outbox.due_deliveries(now=clock.steady(), limit=10, busy=frozenset())

    assert [delivery.build_uuid for delivery in await due()] == [build.build_uuid]
    noticed: list[str] = []
    database.subscribe(Topic.DELIVERIES, noticed.append)
    for _ in range(2):
        await database.run(cancel_call, build.build_uuid)
    assert noticed == [build.build_uuid]
    assert await due() == []
