"""Records expire, but not while something has yet to be done for them."""

from datetime import timedelta
from typing import Any

import pytest

from shuttle.build import Ending, State
from shuttle.delivery import Outcome
from shuttle.store import Database, Tx
from shuttle.store.auto_resumes import cancel_resumes
from shuttle.store.ledger import record_sink_given_up
from shuttle.store.record_failures import FailureReport, record_failure
from shuttle.store.retain import Expiring, drop_record, expired_builds
from shuttle.store.stored_outbox import StoredOutbox
from shuttle.store.tables import sinks
from shuttle.store.transitions import finish_build, mark_archived
from shuttle.vault import Vault
from tests.support.clock import SetClock
from tests.support.shuttle_store import attempt_at, endpoint, new_build, record

RETRYABLE = FailureReport(None, "quota", "The account has no room.", retryable=True)


async def ended(database: Database, vault: Vault, **changes: Any) -> str:
    """A failed build whose log is archived."""
    build = (await record(database, vault, new_build(vault, **changes))).build
    await database.run(record_failure, build.build_uuid, RETRYABLE)
    await database.run(finish_build, build.build_uuid, Ending(State.FAILED, "build_failed", "No."))
    await database.run(mark_archived, build.build_uuid)
    return build.build_uuid


async def expired(database: Database, clock: SetClock) -> list[str]:
    return await database.run(expired_builds, Expiring.RECORD, clock.now() + timedelta(days=1), limit=9)


def end_sinks(tx: Tx) -> None:
    for sink_id in tx.execute(sinks.select()).scalars().all():
        record_sink_given_up(tx, sink_id, "The receiver is gone.")


async def deliver_all(outbox: StoredOutbox, clock: SetClock) -> None:
    while due := await outbox.due_deliveries(now=clock.steady(), limit=9, busy=frozenset()):
        for delivery in due:
            await outbox.record_attempt(attempt_at(delivery, clock, outcome=Outcome.DELIVERED))


@pytest.mark.parametrize("why", ["statuses", "log", "resume"])
async def test_a_record_for_which_something_has_yet_to_be_done_is_kept(
    database: Database, vault: Vault, clock: SetClock, outbox: StoredOutbox, why: str
):
    hook = [endpoint(vault, "http://r.example/hook")]
    changes: dict[str, dict[str, Any]] = {
        "statuses": {"receivers": hook},
        "log": {"sinks": hook},
        "resume": {"record": {"auto_resume": {"after_seconds": 604_800, "attempts": 1}}},
    }
    build_uuid = await ended(database, vault, **changes[why])
    assert await expired(database, clock) == []
    if why == "statuses":
        await deliver_all(outbox, clock)
    elif why == "log":
        await database.run(end_sinks)
    else:
        await database.run(cancel_resumes, [build_uuid])
    assert await expired(database, clock) == [build_uuid]


async def test_an_attempt_whose_record_was_deleted_meanwhile_is_not_recorded_again_and_again(
    database: Database, vault: Vault, clock: SetClock, outbox: StoredOutbox
):
    build_uuid = await ended(database, vault, receivers=[endpoint(vault, "http://r.example/hook")])
    [due, *_] = await outbox.due_deliveries(now=clock.steady(), limit=9, busy=frozenset())
    await database.run(drop_record, build_uuid)
    await outbox.record_attempt(attempt_at(due, clock, outcome=Outcome.DELIVERED))
    assert await outbox.due_deliveries(now=clock.steady(), limit=9, busy=frozenset()) == []
