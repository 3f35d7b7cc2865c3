"""Reports of a build's agent, as recorded in the database."""

import asyncio

import pytest

from shuttle.store import Database
from shuttle.store.agent import Failure, record_report
from shuttle.store.builds import find_build
from shuttle.vault import Vault
from tests.support.shuttle_store import new_build, record


@pytest.fixture
async def build_uuid(database: Database, vault: Vault) -> str:
    return (await record(database, vault, new_build(vault), queue_limit=100)).build.build_uuid


async def report(database: Database, build_uuid: str, number: int, reason: str | None) -> bool:
    failure = None if reason is None else Failure(reason, f"The message of {reason}.")
    return await database.run(
        record_report, build_uuid, f"report {number}", b"{}", failure=failure, facts={}, values={}, seal=bytes
    )


async def test_reason_and_message_are_of_the_same_report(database: Database, build_uuid: str):
    reasons = [f"reason_{number}" for number in range(20)]
    recorded = await asyncio.gather(*(report(database, build_uuid, *each) for each in enumerate(reasons)))
    assert recorded == [True] * 20
    build = await database.run(find_build, build_uuid)
    assert str(build.report_reason) in reasons
    assert build.report_message == f"The message of {build.report_reason}."


async def test_report_without_a_reason_keeps_the_earlier_one(database: Database, build_uuid: str):
    await report(database, build_uuid, 1, None)
    assert (await database.run(find_build, build_uuid)).report_reason is None
    await report(database, build_uuid, 2, "the_reason")
    await report(database, build_uuid, 3, None)
    assert (await database.run(find_build, build_uuid)).report_reason == "the_reason"
