"""The next number of an app whose builds have numbers of their own, on both databases."""

from collections.abc import Sequence

import pytest
import sqlalchemy as sa

from shuttle.standing import Standing
from shuttle.store import Database, Tx
from shuttle.store.build_numbers import free_number, take_number
from shuttle.store.records import create_record
from shuttle.store.tables import builds
from shuttle.vault import Vault
from tests.contract.store.test_records import new_record


def with_ids(tx: Tx, ids: Sequence[str]) -> None:
    """Copy the only build, once for each id."""
    row = dict(tx.execute(sa.select(builds)).mappings().one())
    del row["position"]
    rows = [{**row, "build_id": id_, "build_uuid": f"00000000-0000-4000-9000-{n:012}"} for n, id_ in enumerate(ids)]
    tx.execute(builds.insert(), rows)


@pytest.mark.parametrize(
    ("ids", "number", "free"),
    [
        ([], 1, 1),
        (["2"], 1, 1),
        (["1", "2", "4"], 1, 3),
        (["1", "2", "4"], 4, 5),
        (["1", "nightly", "2x", "%2F", "-2", "٢", "02"], 1, 2),
        (["1", "2" * 128, "999999999999999999"], 1, 2),
        (["999999999999999999"], 999999999999999999, 1000000000000000000),
        (["999999999999999999", "1000000000000000000"], 999999999999999999, 1000000000000000001),
        ([str(each) for each in range(1, 10_001)], 1, 10_001),
    ],
    ids=["none", "before", "gap", "last", "no numbers", "long", "longest", "too long", "many"],
)
async def test_next_number_is_the_first_that_no_build_has(
    database: Database, vault: Vault, ids: list[str], number: int, free: int
):
    """Before, each taken number took a query: with PostgreSQL and thousands of them, each request got a 503."""
    await database.run(create_record, new_record(vault))
    if ids:
        await database.run(with_ids, ids)
    statements = list[str]()

    def find(tx: Tx) -> int:
        count = len(statements)
        sa.event.listen(tx.connection, "before_cursor_execute", lambda *given: statements.append(given[2]))
        found = free_number(tx, "app", number)
        assert len(statements) - count <= 5
        return found

    assert await database.run(find) == free


async def test_records_and_the_older_api_take_it(database: Database, vault: Vault):
    await database.run(create_record, new_record(vault))
    await database.run(with_ids, ["1", "2", "4"])
    numbered = new_record(vault, 3, build_id=None, same_request=lambda _: False)
    assert (await database.run(create_record, numbered))[0].build_id == "3"
    assert await database.run(take_number, "app", "job-of-app", Standing.CONTROLLER) == 5
