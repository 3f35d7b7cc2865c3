"""Reports of a build's agent as the database keeps them."""

import asyncio

import pytest

from shuttle.store.agent import Failure
from shuttle.store.store import Store
from shuttle.vault import Vault
from tests.shuttle_store import new_build


@pytest.fixture
async def build_uuid(store: Store, vault: Vault) -> str:
    return (await store.record(new_build(vault), b"request", queue_limit=100)).build.build_uuid


async def report(store: Store, build_uuid: str, number: int, reason: str | None) -> bool:
    failure = None if reason is None else Failure(reason, f"The message of {reason}.")
    return await store.record_report(build_uuid, f"report {number}", b"{}", failure=failure, facts={}, values={})


async def test_of_concurrent_reports_one_reason_stays_with_its_own_message(store: Store, build_uuid: str):
    reasons = [f"reason_{number}" for number in range(20)]
    recorded = await asyncio.gather(*(report(store, build_uuid, *each) for each in enumerate(reasons)))
    assert recorded == [True] * 20
    build = await store.build(build_uuid)
    assert (build.report_reason, build.report_message) == ("reason_0", "The message of reason_0.")


async def test_a_report_without_a_reason_changes_none(store: Store, build_uuid: str):
    await report(store, build_uuid, 1, None)
    assert (await store.build(build_uuid)).report_reason is None
    await report(store, build_uuid, 2, "the_reason")
    await report(store, build_uuid, 3, None)
    assert (await store.build(build_uuid)).report_reason == "the_reason"
