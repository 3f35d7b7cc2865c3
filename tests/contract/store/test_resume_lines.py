"""A line of builds that resume one another is continued by one build at a time, also if two requests come at once."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from shuttle.build import Build, Ending, State
from shuttle.errors import ConflictError
from shuttle.store import Database, Tx
from shuttle.store.accept import Accepted, AcceptRequest, record_all
from shuttle.store.records import create_record
from shuttle.store.resumes import NewResume, resume_record
from shuttle.store.transitions import finish_build
from shuttle.vault import Vault
from tests.contract.store.test_races import overlapping
from tests.contract.store.test_records import UUID, new_record
from tests.support.clock import SetClock
from tests.support.shuttle_store import new_build, record

FAILED = Ending(State.FAILED, "reported_failure", "No.")


async def failed_builds(database: Database, vault: Vault) -> list[Build]:
    """A build that has failed, and a failed one that resumed it."""
    old = (await record(database, vault, new_build(vault))).build
    await database.run(finish_build, old.build_uuid, FAILED)
    newer = (await record(database, vault, new_build(vault, "app", "2", resume_from=old.build_uuid))).build
    await database.run(finish_build, newer.build_uuid, FAILED)
    return [old, newer]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["older first", "newer first"])
async def test_simultaneous_requests_to_resume_two_builds_of_a_line_make_one_build(
    connections: list[Database], vault: Vault, clock: SetClock, order: tuple[int, int]
):
    """Before, only the successors of the named build counted."""
    line = await failed_builds(connections[0], vault)

    def resume(old: Build) -> Callable[[Tx], Any]:
        content = old.build_id.encode()
        changes = {"resume_from": old.build_uuid, "request_fingerprint": vault.fingerprint(content)}
        new = new_build(vault, "app", f"{old.build_id}-r1", **changes)
        return partial(record_all, requests=[AcceptRequest(new, clock.moment(), None, partial(vault.matches, content))])

    [first], [second] = await overlapping(connections, *(resume(line[index]) for index in order))
    assert isinstance(first, Accepted)
    assert isinstance(second, ConflictError)
    assert f"Build {first.build.build_id} " in second.message


@pytest.mark.parametrize("order", [(1, 2), (2, 1)], ids=["older first", "newer first"])
async def test_simultaneous_requests_to_resume_two_records_of_a_line_make_one_record(
    connections: list[Database], vault: Vault, order: tuple[int, int]
):
    """Before, each locked the row of its own record, and neither saw the other's successor."""
    for number, older in ((1, None), (2, UUID.format(1))):
        await connections[0].run(create_record, new_record(vault, number, resume_from=older))
        await connections[0].run(finish_build, UUID.format(number), FAILED)

    def resume(number: int) -> Callable[[Tx], Any]:
        content = str(number).encode()
        new = NewResume(
            build_uuid=UUID.format(number + 2),
            build_id=None,
            number=None,
            state_code=None,
            fields={},
            request_fingerprint=vault.fingerprint(content),
            same_request=partial(vault.matches, content),
        )
        return partial(resume_record, build_uuid=UUID.format(number), new=new)

    (successor, is_new), second = await overlapping(connections, *map(resume, order))
    assert (successor.build_id, is_new) == (f"r{order[0]}-r1", True)
    assert isinstance(second, ConflictError)
    assert f"Build {successor.build_id} " in second.message
