"""Rows of log pieces: what is read, what may be deleted, and the newest checkpoint."""

import asyncio

import pytest

from shuttle.build import Checkpoint, Ending, State
from shuttle.store import Database
from shuttle.store.log_pieces import (
    Piece,
    StoredPieces,
    archived_with_pieces,
    forget_pieces,
    keep_piece,
    register_piece,
    registered_pieces,
    stored_pieces,
)
from shuttle.store.retain import drop_record
from shuttle.store.transitions import finish_build, mark_archived
from shuttle.vault import Vault
from tests.support.shuttle_store import new_build, record

SMALL, NEXT, LARGE = Piece(0, 10), Piece(10, 5), Piece(0, 15)


def at(offset: int) -> Checkpoint:
    return Checkpoint(offset, {"recorded": offset}, {"1/main": {"offset": offset}})


@pytest.fixture
async def build_uuid(database: Database, vault: Vault) -> str:
    return (await record(database, vault, new_build(vault), queue_limit=100)).build.build_uuid


async def test_registered_piece_is_not_read_before_it_is_kept(database: Database, build_uuid: str):
    await database.run(register_piece, build_uuid, SMALL, ())
    assert await database.run(stored_pieces, build_uuid) == StoredPieces([], None)
    assert await database.run(registered_pieces, build_uuid) == [SMALL]
    await database.run(keep_piece, build_uuid, SMALL, (), at(8))
    assert await database.run(stored_pieces, build_uuid) == StoredPieces([SMALL], at(8))


async def test_larger_piece_replaces_smaller_ones_which_are_known_until_they_are_deleted(
    database: Database, build_uuid: str
):
    for piece, offset in ((SMALL, 10), (NEXT, 15)):
        await database.run(register_piece, build_uuid, piece, ())
        await database.run(keep_piece, build_uuid, piece, (), at(offset))
    await database.run(register_piece, build_uuid, LARGE, ())
    await database.run(keep_piece, build_uuid, LARGE, (NEXT, SMALL), at(15))
    assert await database.run(stored_pieces, build_uuid) == StoredPieces([LARGE], at(15))
    assert set(await database.run(registered_pieces, build_uuid)) == {SMALL, NEXT, LARGE}
    await database.run(register_piece, build_uuid, Piece(15, 1), [SMALL, NEXT])
    assert set(await database.run(registered_pieces, build_uuid)) == {LARGE, Piece(15, 1)}


async def test_piece_that_was_registered_twice_is_kept_once(connections: list[Database], build_uuid: str):
    await asyncio.gather(*(database.run(register_piece, build_uuid, SMALL, ()) for database in connections))
    await asyncio.gather(*(database.run(keep_piece, build_uuid, SMALL, (), at(10)) for database in connections))
    assert await connections[0].run(stored_pieces, build_uuid) == StoredPieces([SMALL], at(10))


async def test_piece_that_is_read_is_not_taken_for_a_deleted_one(database: Database, build_uuid: str):
    await database.run(keep_piece, build_uuid, SMALL, (), at(10))
    await database.run(register_piece, build_uuid, NEXT, [SMALL])
    assert (await database.run(stored_pieces, build_uuid)).pieces == [SMALL]


async def test_pieces_of_archived_builds_are_found_until_they_are_forgotten(database: Database, build_uuid: str):
    await database.run(register_piece, build_uuid, SMALL, ())
    await database.run(finish_build, build_uuid, Ending(State.FAILED, "source_not_found", "No."))
    assert await database.run(archived_with_pieces, 10) == []
    await database.run(mark_archived, build_uuid)
    assert await database.run(archived_with_pieces, 10) == [build_uuid]
    await database.run(forget_pieces, build_uuid)
    assert await database.run(archived_with_pieces, 10) == []


async def test_pieces_are_removed_with_the_record(database: Database, build_uuid: str):
    await database.run(register_piece, build_uuid, SMALL, ())
    await database.run(drop_record, build_uuid)
    assert await database.run(registered_pieces, build_uuid) == []
