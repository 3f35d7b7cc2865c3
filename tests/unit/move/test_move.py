"""Moving a service from SQLite to PostgreSQL and S3: all of it arrives, and it is served from one side only."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet

from shuttle.clock import Clock
from shuttle.errors import DatabaseInUseError, MovedError, MoveRefusedError, SettingsError, ShuttleError, StoreError
from shuttle.move import target as target_module
from shuttle.move.run import MoveRequest, move_database
from shuttle.move.source import Source
from shuttle.move.target import Target
from shuttle.objects.s3 import S3Store
from shuttle.store.accept import Accepted
from shuttle.store.builds import find_build
from shuttle.store.log_pieces import stored_pieces
from shuttle.store.postgres import PostgresDatabase
from shuttle.store.replicas import Replica, raise_counter
from shuttle.store.sqlite import SqliteDatabase, lock_file
from shuttle.vault import Vault
from tests.support.clock import SetClock
from tests.support.on_postgres import OnPostgres, on_postgres
from tests.support.postgres_server import PASSWORD
from tests.support.s3_server import bucket_of
from tests.support.shuttle_store import new_build, record
from tests.unit.move.service import AT, PIECE_BYTES, StoppedService, bytes_of, copied, stopped_service

REPLICA = Replica("11111111-0000-4000-8000-000000000000", "r", "http://h", "1", 0, AT)


@pytest.fixture(scope="module")
def servers() -> Iterator[OnPostgres]:
    with on_postgres() as running:
        yield running


@pytest.fixture
def postgres(servers: OnPostgres) -> Iterator[OnPostgres]:
    """With a new database, whose tables are there but empty, and a new bucket."""
    with bucket_of(servers.settings["S3_LOCATION"]) as (bucket, client):
        new = {"DATABASE_URL": servers.server.new_migrated_url(), "S3_BUCKET": bucket}
        yield replace(servers, settings=servers.settings | new, client=client)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> StoppedService:
    return asyncio.run(stopped_service(tmp_path_factory.mktemp("made") / "data"))


@pytest.fixture
def service(made: StoppedService, tmp_path: Path) -> StoppedService:
    return copied(made, tmp_path / "data")


@pytest.fixture
async def store(postgres: OnPostgres) -> AsyncIterator[S3Store]:
    at, bucket = postgres.settings["S3_LOCATION"], postgres.settings["S3_BUCKET"]
    opened = S3Store(bucket=bucket, access_key="key", secret_key="secret", location=at)
    yield opened
    await opened.close()


@pytest.fixture
def request_(postgres: OnPostgres, service: StoppedService) -> MoveRequest:
    keys = (Fernet.generate_key().decode(), service.key)
    return MoveRequest(service.path, service.folder, postgres.settings["DATABASE_URL"], keys, lease_seconds=0.5)


@asynccontextmanager
async def opened(postgres: OnPostgres) -> AsyncIterator[PostgresDatabase]:
    database = PostgresDatabase(postgres.settings["DATABASE_URL"], SetClock(), answer_seconds=20)
    try:
        yield database
    finally:
        await database.close()


async def served(path: Path) -> None:
    """Raise as `serve` would on this file."""
    database = SqliteDatabase(path, Clock())
    try:
        await database.migrate()
    finally:
        await database.close()


@pytest.mark.slow
async def test_everything_arrives(postgres: OnPostgres, service: StoppedService, store: S3Store, request_: MoveRequest):
    url = postgres.server.new_url()  # without tables
    postgres = replace(postgres, settings=postgres.settings | {"DATABASE_URL": url})
    report = await move_database(replace(request_, target_url=url), store)
    assert report.differences == []
    assert {name: found.count for name, found in report.moved_to.items() if found.count} == {
        "apps": 3,
        "builds": 7,
        "events": 1,
        "receivers": 1,
        "sinks": 1,
        "deliveries": 1,
        "attempts": 1,
        "artifacts": 2,
        "claims": 1,
        "log_segments": 2500,
        "log_pieces": 5,
        "steady_time": 1,
        "early_sources": 1,
        "objects": 9,
        "running logs": 5,
    }
    assert report.moved_to["objects"].size_bytes == sum(map(len, service.objects.values()))
    for number, (name, content) in enumerate(service.objects.items()):
        assert postgres.object_of(name) == content
        assert (await store.head(name)).content_type == f"text/x-{number}"
    # A value of each type, to the last character.
    [row] = postgres.query("SELECT accepted_at, message, labels::text, timeout_seconds, log_bytes, checkpoint::text"
                           " FROM builds WHERE build_uuid = 'u0'")  # fmt: skip
    assert row == (AT, "tab\tback\\slash\nline", '{"\\u00e4": "\\u2192"}', 0.1, 2**33, None)
    assert postgres.query("SELECT log_ending FROM builds WHERE build_uuid = 'u4'") == [("the reason?line\n",)]
    assert postgres.query("SELECT checkpoint::text FROM builds WHERE build_uuid = 'u3'") == [("null",)]
    assert postgres.query("SELECT body FROM events") == [(b"\0\xff{}",)]
    [(plan,)] = postgres.query("SELECT plan FROM builds WHERE build_uuid = 'u2'")
    assert Vault(request_.keys).open(plan) == b'{"url": "s"}'


@pytest.mark.slow
async def test_running_logs_are_kept_as_pieces_up_to_what_is_recorded(
    postgres: OnPostgres, service: StoppedService, store: S3Store, request_: MoveRequest
):
    await move_database(request_, store)
    async with opened(postgres) as database:
        found = {number: await database.run(stored_pieces, number) for number in ("u2", "u4", "u5", "u6")}
        checkpoints = {number: (await database.run(find_build, number)).checkpoint for number in ("u2", "u4")}
    for build_uuid, stored in found.items():
        names = [f"{build_uuid}.log.{piece.offset_bytes}-{piece.size_bytes}" for piece in stored.pieces]
        assert b"".join(postgres.object_of(name) or b"" for name in names) == service.logs.get(build_uuid, b"")
    assert [piece.size_bytes for piece in found["u2"].pieces] == [PIECE_BYTES, PIECE_BYTES, 5]
    assert {number: found[number].checkpoint for number in checkpoints} == checkpoints
    assert found["u5"].checkpoint is None, "the pieces do not reach it"


@pytest.mark.slow
async def test_new_rows_get_ids_after_the_moved_ones(
    postgres: OnPostgres, store: S3Store, service: StoppedService, request_: MoveRequest
):
    await move_database(request_, store)
    async with opened(postgres) as database:
        accepted: Accepted = await record(database, Vault([service.key]), new_build(Vault([service.key]), "new"))
        assert not accepted.replayed
    assert postgres.query("SELECT position FROM builds WHERE app_id = 'new'") == [(8,)]
    for table, column, newest in (
        ("events", "event_id", 5),
        ("claims", "claim_id", 12),
        ("deliveries", "delivery_id", 9),
    ):
        [(following,)] = postgres.query(f"SELECT nextval(pg_get_serial_sequence('{table}', '{column}'))")
        assert following > newest


@pytest.mark.slow
async def test_moved_file_is_never_served_again_and_names_the_database_without_its_password(
    postgres: OnPostgres, service: StoppedService, store: S3Store, request_: MoveRequest
):
    await served(service.path)
    await move_database(request_, store)
    place = postgres.settings["DATABASE_URL"].rpartition("@")[2]
    with pytest.raises(MovedError, match=rf"was moved to postgresql://{place}: set DATABASE_URL.*\.$") as caught:
        await served(service.path)
    assert PASSWORD not in str(caught.value)


@pytest.mark.slow
async def test_repeated_move_returns_the_same_sums_even_if_the_target_is_served(
    postgres: OnPostgres, service: StoppedService, store: S3Store, request_: MoveRequest
):
    report = await move_database(request_, store)
    async with opened(postgres) as database:
        await database.run(raise_counter, REPLICA)
        await record(database, Vault([service.key]), new_build(Vault([service.key]), "new"))
    assert await move_database(request_, store) == report
    elsewhere = replace(request_, target_url=postgres.server.new_url())
    with pytest.raises(MoveRefusedError, match=r"was moved to postgresql://.* already"):
        await move_database(elsewhere, store)


@pytest.mark.slow
async def test_move_that_was_killed_before_the_file_was_marked_is_completed(
    postgres: OnPostgres,
    service: StoppedService,
    store: S3Store,
    request_: MoveRequest,
    monkeypatch: pytest.MonkeyPatch,
):
    with monkeypatch.context() as patched:
        patched.setattr(Source, "end", lambda self: exec("raise KeyboardInterrupt"))
        with pytest.raises(KeyboardInterrupt):
            await move_database(request_, store)
    with pytest.raises(MovedError, match=r"is being moved to postgresql://.*: repeat `shuttle migrate"):
        await served(service.path)
    with pytest.raises(
        MoveRefusedError, match=r"is being moved to postgresql://.*; repeat the command with that target"
    ):
        await move_database(replace(request_, target_url=postgres.server.new_url()), store)
    report = await move_database(request_, store)
    assert report.moved_from["builds"].count == 7
    with pytest.raises(MovedError, match="was moved to"):
        await served(service.path)


@pytest.mark.slow
async def test_objects_that_are_there_with_the_same_sum_are_not_uploaded_again(
    service: StoppedService, store: S3Store, request_: MoveRequest, monkeypatch: pytest.MonkeyPatch
):
    uploaded: list[str] = []
    upload = store._upload

    def counting(key: str, *arguments: Any) -> None:
        uploaded.append(key)
        upload(key, *arguments)

    monkeypatch.setattr(store, "_upload", counting)
    with monkeypatch.context() as patched:
        patched.setattr(Target, "fill", refuse)
        with pytest.raises(MoveRefusedError, match="as if"):
            await move_database(request_, store)
    await served(service.path)  # nothing was moved
    first = [key for key in uploaded if not key.startswith("check~")]
    assert len(first) == 14
    uploaded.clear()
    changed = next(path for path in (service.folder / "objects").iterdir() if path.name == "u1")
    changed.write_bytes(bytes_of("other", changed.stat().st_size))
    await move_database(request_, store)
    assert [key for key in uploaded if not key.startswith("check~")] == ["u1"]


def refuse(*_: object) -> None:
    raise MoveRefusedError("as if")


@pytest.mark.slow
async def test_rows_that_arrive_differently_end_the_move_with_nothing_moved(
    postgres: OnPostgres, service: StoppedService, store: S3Store, request_: MoveRequest
):
    function = "RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.host = 'x'; RETURN NEW; END $$"
    for statement in (
        f"CREATE FUNCTION damage() {function}",
        "CREATE TRIGGER damage BEFORE INSERT ON sinks FOR EACH ROW EXECUTE FUNCTION damage()",
    ):
        postgres.server.execute(statement, postgres.settings["DATABASE_URL"].rpartition("/")[2])
    with pytest.raises(MoveRefusedError, match=r"differs from the original \(sinks\); nothing was moved"):
        await move_database(request_, store)
    assert postgres.query("SELECT count(*) FROM builds") == [(0,)]
    await served(service.path)


@pytest.mark.slow
async def test_interrupted_move_leaves_the_file_to_its_service(
    service: StoppedService, store: S3Store, request_: MoveRequest, monkeypatch: pytest.MonkeyPatch
):
    loop, copying = asyncio.get_running_loop(), asyncio.Event()

    def endless(connection: sa.Connection, _table: sa.Table) -> None:
        loop.call_soon_threadsafe(copying.set)
        while True:
            connection.exec_driver_sql("SELECT pg_sleep(0.01)")

    with monkeypatch.context() as patched:
        patched.setattr(target_module, "_set_sequence", endless)
        moving = asyncio.create_task(move_database(request_, store))
        await copying.wait()
        moving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await moving
    await served(service.path)
    assert (await move_database(request_, store)).differences == []


@pytest.mark.slow
async def test_connection_that_is_lost_during_the_uploads_is_opened_again(
    postgres: OnPostgres, store: S3Store, request_: MoveRequest, monkeypatch: pytest.MonkeyPatch
):
    head = store.head

    async def losing(name: str) -> Any:
        postgres.server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                                " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'")  # fmt: skip
        return await head(name)

    monkeypatch.setattr(store, "head", losing)
    assert (await move_database(request_, store)).differences == []


async def test_no_replica_starts_while_the_database_is_being_filled(
    postgres: OnPostgres, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(target_module, "_LOCK_SECONDS", 0.1)
    target = Target(postgres.settings["DATABASE_URL"])
    await asyncio.to_thread(target.prepare)
    target.reserve(0)
    async with opened(postgres) as database:
        with pytest.raises(StoreError, match="moving another database into this one"):
            await database.run(raise_counter, REPLICA)
        with pytest.raises(MoveRefusedError, match="Another `shuttle migrate`"):
            await asyncio.to_thread(Target(postgres.settings["DATABASE_URL"]).reserve, 0)
        target.close()
        await database.run(raise_counter, REPLICA)


@pytest.mark.slow
async def test_living_replica_is_refused_and_a_dead_one_is_not(
    postgres: OnPostgres, store: S3Store, request_: MoveRequest
):
    async with opened(postgres) as database:
        await database.run(raise_counter, REPLICA)
        moving = asyncio.create_task(move_database(request_, store))
        while not moving.done():
            await database.run(raise_counter, REPLICA)
            await asyncio.sleep(0.05)
        with pytest.raises(MoveRefusedError, match="A shuttle serves from the PostgreSQL database"):
            await moving
    assert (await move_database(request_, store)).differences == []
    assert postgres.query("SELECT count(*) FROM replicas") == [(0,)]


async def test_target_with_builds_of_its_own_is_refused(postgres: OnPostgres, store: S3Store, request_: MoveRequest):
    async with opened(postgres) as database:
        vault = Vault(request_.keys)
        await record(database, vault, new_build(vault))
    with pytest.raises(MoveRefusedError, match="has builds of its own"):
        await move_database(request_, store)


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ({"keys": (Fernet.generate_key().decode(),)}, MoveRefusedError, "lacks the key in .*/encryption.key"),
        ({"path": Path("/nowhere/shuttle.db")}, MoveRefusedError, "no database /nowhere/shuttle.db"),
        ({"data_dir": Path("/nowhere")}, MoveRefusedError, "set SHUTTLE_DATA_DIR to the directory of the service"),
    ],
    ids=["keys", "path", "data_dir"],
)
async def test_wrong_request_is_refused(
    store: S3Store, request_: MoveRequest, change: dict[str, Any], error: type[ShuttleError], sentence: str
):
    with pytest.raises(error, match=sentence):
        await move_database(replace(request_, **change), store)


@pytest.mark.slow
async def test_missing_key_of_a_service_without_a_key_file_is_refused(
    service: StoppedService, store: S3Store, request_: MoveRequest
):
    (service.folder / "encryption.key").unlink()
    with pytest.raises(SettingsError, match="SHUTTLE_ENCRYPTION_KEYS lacks the key"):
        await move_database(replace(request_, keys=request_.keys[:1]), store)
    assert (await move_database(request_, store)).differences == []


async def test_service_that_is_running_is_refused(service: StoppedService, store: S3Store, request_: MoveRequest):
    lock = lock_file(service.path)
    with pytest.raises(DatabaseInUseError, match="Another shuttle serves from"):
        await move_database(request_, store)
    lock.close()


async def test_object_whose_name_is_unknown_is_refused(service: StoppedService, store: S3Store, request_: MoveRequest):
    file = next(path for path in (service.folder / "objects").iterdir() if "=" in path.name and path.is_file())
    file.rename(file.with_name(f"{'x' * 100}={'0' * 64}"))
    with pytest.raises(MoveRefusedError, match=r"The file .*/objects/x*=0* is the object of no build; remove it"):
        await move_database(request_, store)


async def test_unreachable_target_is_reported_without_its_password(store: S3Store, request_: MoveRequest):
    url = f"postgresql://u:{PASSWORD}@127.0.0.1:9/x"
    with pytest.raises(StoreError, match="does not answer") as caught:
        await move_database(replace(request_, target_url=url), store)
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("postgresql://u:p@a.example,b.example:5433/shop", "a.example:5432,b.example:5433/shop"),
        ("postgresql://u:p@a.example/", "a.example:5432/u"),
    ],
    ids=["hosts", "default"],
)
def test_target_is_named_without_user_and_password(url: str, name: str):
    assert Target(url).name == f"postgresql://{name}"
