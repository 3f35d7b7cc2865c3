"""A running log is kept in the object store as pieces, and a spool that is lost with its disk is restored from them."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest

from shuttle.build import Ending, State
from shuttle.errors import NotOwnerError, ObjectNotFoundError, ObjectStoreError, UnavailableError
from shuttle.lifecycle.archive_log import archive_log
from shuttle.lifecycle.build_log import BuildLog
from shuttle.lifecycle.build_logs import BuildLogs
from shuttle.lifecycle.finish import finish
from shuttle.lifecycle.log_forwarding import LogForwarding
from shuttle.lifecycle.log_pieces import LogPieces
from shuttle.lifecycle.owned_apps import OwnedApps
from shuttle.logs import LogReader
from shuttle.logs.library import LogLibrary
from shuttle.objects.names import log_object, piece_object
from shuttle.outgoing.endpoints import EndpointKind
from shuttle.sinks import SinkTarget
from shuttle.store import Tx
from shuttle.store.fence import Ownership
from shuttle.store.log_pieces import Piece, StoredPieces, keep_piece, registered_pieces, stored_pieces
from tests.unit.lifecycle.one_build import OneBuild, one_build

PREAMBLE = b"-----> Source\n"
WRITER = "shuttle.lifecycle.piece_writer"


@pytest.fixture
async def one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OneBuild]:
    """A build whose log is kept in pieces, by retries without long pauses."""
    monkeypatch.setattr("shuttle.lifecycle.backoff._FIRST_SECONDS", 0.001)
    monkeypatch.setattr(f"{WRITER}._FIRST_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(f"{WRITER}._LONGEST_RETRY_SECONDS", 0.01)
    async with one_build(tmp_path, True) as made:
        yield made


async def opened(one: OneBuild) -> BuildLog:
    found = await one.services.logs.open(one.build_uuid)
    assert found is not None
    return found


async def pushed(build_log: BuildLog, raw: bytes) -> None:
    """Push the next bytes of the main stream, and wait until they are shown."""
    claim = build_log.claims[0]
    build_log.take(claim, "main", build_log.wanted(claim, "main"), raw)
    async with asyncio.timeout(5):
        await build_log._commits.make_durable()


async def ended(build_log: BuildLog, raw: bytes = b"") -> None:
    await pushed(build_log, raw)
    async with asyncio.timeout(5):
        await build_log.end_stream(build_log.claims[0], "main")


async def in_pieces(one: OneBuild) -> bytes:
    """The log as its pieces have it; they must not overlap."""
    text = b""
    for piece in (await one.database.run(stored_pieces, one.build_uuid)).pieces:
        assert piece.offset_bytes == len(text)
        text += await object_of(one, piece_object(one.build_uuid, piece.offset_bytes, piece.size_bytes))
    return text


async def object_of(one: OneBuild, name: str) -> bytes:
    async with one.services.objects.open(name) as found:
        return b"".join([chunk async for chunk in found.chunks])


async def until_kept(one: OneBuild, text: bytes) -> None:
    async with asyncio.timeout(5):
        while True:
            with suppress(ObjectNotFoundError):  # a larger piece has just replaced it
                if await in_pieces(one) == text:
                    return
            await asyncio.sleep(0.005)


def restarted(one: OneBuild, *, lose_spool: bool = True) -> OneBuild:
    """The build in a process that has replaced the first one, by default on a machine with an empty disk."""
    services = one.services
    services.logs.abandon()
    if lose_spool:
        shutil.rmtree(services.settings.shuttle_data_dir / "spool")
    library = LogLibrary(services.settings.shuttle_data_dir / "spool", services.objects, memory_bytes=1024)
    owned, mine = OwnedApps(), services.owned.ownership("app")
    assert mine is not None
    owned.add(mine)
    pieces = LogPieces(one.database, services.objects, library, owned, enabled=True)
    logs = BuildLogs(one.database, services.vault, library, pieces, services.signals, owned=owned)
    return replace(one, services=replace(services, library=library, pieces=pieces, logs=logs, owned=owned))


async def recovered(one: OneBuild, *, lose_spool: bool = True) -> OneBuild:
    """`restarted`, after the worker has looked for unfinished builds."""
    again = restarted(one, lose_spool=lose_spool)
    again.services.library.recover(await one.row())
    return again


class Away:
    """The object store cannot be used within this context."""

    def __init__(self, one: OneBuild) -> None:
        self._folder = one.services.settings.shuttle_data_dir / "objects"
        self._kept = self._folder.with_name("kept")

    def __enter__(self) -> None:
        self._folder.mkdir(exist_ok=True)
        self._folder.rename(self._kept)
        self._folder.write_text("no directory")

    def __exit__(self, *_: object) -> None:
        self._folder.unlink()
        self._kept.rename(self._folder)


# --- what is kept


async def test_end_of_a_stream_is_acknowledged_when_all_of_it_is_in_the_object_store(one: OneBuild):
    await one.running()
    build_log = await opened(one)
    with Away(one):
        await pushed(build_log, b"one\n")
        for _ in range(2):
            with pytest.raises(ObjectStoreError):
                await ended(build_log)
    await ended(build_log)
    assert await in_pieces(one) == PREAMBLE + b"one\n"
    found = await one.database.run(stored_pieces, one.build_uuid)
    assert found.checkpoint == (await one.row()).checkpoint


async def test_end_is_refused_if_the_object_store_takes_too_long(one: OneBuild, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("shuttle.lifecycle.build_log._DURABLE_SECONDS", 0.05)
    released = asyncio.Event()
    put_part = one.services.objects.put_part

    async def slow(*given: object, **named: object) -> None:
        await released.wait()
        await put_part(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(one.services.objects, "put_part", slow)
    await one.running()
    build_log = await opened(one)
    with pytest.raises(UnavailableError, match=r"object store did not store the log in time\.$"):
        await ended(build_log, b"one\n")
    released.set()
    monkeypatch.setattr("shuttle.lifecycle.build_log._DURABLE_SECONDS", 20)
    await ended(build_log)
    assert await in_pieces(one) == PREAMBLE + b"one\n"


async def test_growing_log_is_kept_without_an_end(one: OneBuild, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(f"{WRITER}._LONGEST_UNKEPT_SECONDS", 0.02)
    await one.running()
    build_log = await opened(one)
    for line in (b"one\n", b"two\n"):
        await pushed(build_log, line)
        await until_kept(one, PREAMBLE + (b"one\n" if line == b"one\n" else b"one\ntwo\n"))


@pytest.mark.slow
async def test_pieces_of_a_slow_log_become_few(one: OneBuild, monkeypatch: pytest.MonkeyPatch):
    """64 uploads leave some pieces, and each smaller piece that was replaced is deleted."""
    monkeypatch.setattr(f"{WRITER}._LONGEST_UNKEPT_SECONDS", 0.0)
    await one.running()
    build_log, text = await opened(one), PREAMBLE
    for number in range(64):
        line = f"line {number:8}\n".encode()
        await pushed(build_log, line)
        text += line
        await until_kept(one, text)
    await ended(build_log)
    pieces = (await one.database.run(stored_pieces, one.build_uuid)).pieces
    assert 2 <= len(pieces) <= 8
    objects = list((one.services.settings.shuttle_data_dir / "objects").glob(f"{one.build_uuid}.log.*-*[0-9]"))
    assert len(objects) <= len(pieces) + 1, "the newest replaced one may not be deleted yet"


async def test_large_log_is_kept_in_pieces_of_limited_size_without_a_pause(
    one: OneBuild, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(f"{WRITER}.LARGEST_PIECE_BYTES", 1000)
    monkeypatch.setattr(f"{WRITER}._LONGEST_UNKEPT_SECONDS", 3600)
    await one.running()
    build_log = await opened(one)
    raw = b"0123456789012345678\n" * 500
    await pushed(build_log, raw[:20])
    for _ in range(10):  # the upload waits for more
        await asyncio.sleep(0)
    await pushed(build_log, raw[20:])
    async with asyncio.timeout(5):
        while (await one.database.run(stored_pieces, one.build_uuid)).end_bytes < len(raw) - 999:
            await asyncio.sleep(0.005)
    await ended(build_log)
    assert await in_pieces(one) == PREAMBLE + raw
    sizes = [piece.size_bytes for piece in (await one.database.run(stored_pieces, one.build_uuid)).pieces]
    assert max(sizes) == 1000
    assert len(sizes) <= 2 * len(raw) / 1000


async def test_nothing_is_kept_beside_sqlite(tmp_path: Path):
    async with one_build(tmp_path) as one:
        await one.running()
        await ended(await opened(one), b"one\n")
        assert await one.database.run(registered_pieces, one.build_uuid) == []
        assert not (tmp_path / "objects").exists()


async def test_silent_build_costs_no_piece(one: OneBuild):
    await one.running()
    await ended(await opened(one))
    assert await one.database.run(registered_pieces, one.build_uuid) == []


async def test_final_status_waits_for_the_object_store_and_shows_it(one: OneBuild):
    """Without the supervisor's last call, as after a lost agent."""
    await one.running()
    await pushed(await opened(one), b"one\n")
    with Away(one):
        ending = asyncio.create_task(finish(await one.row(), one.spec, Ending(State.SUCCEEDED), one.services))
        waiting = await one.until(lambda build: build.waiting_for)
        assert waiting.waiting_for is not None
        assert waiting.waiting_for.startswith("the object store: The object directory")
        assert waiting.state is State.RUNNING
    async with asyncio.timeout(5):
        await ending
    assert (await one.row()).state is State.SUCCEEDED
    assert await in_pieces(one) == PREAMBLE + b"one\n"


# --- what is restored


async def test_log_continues_after_its_pieces_and_agents_send_only_the_rest(
    one: OneBuild, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(f"{WRITER}._LONGEST_UNKEPT_SECONDS", 0.01)
    await one.running()
    build_log = await opened(one)
    await pushed(build_log, b"one\n")
    await until_kept(one, PREAMBLE + b"one\n")
    monkeypatch.setattr(f"{WRITER}._LONGEST_UNKEPT_SECONDS", 3600)
    await pushed(build_log, b"two\n")
    again = await recovered(one)
    build_log = await opened(again)
    reader = again.services.library.spool(one.build_uuid)
    assert await reader.read(0, 100) == PREAMBLE + b"one\n", "readers need not wait for the agent"
    claim = build_log.claims[0]
    assert build_log.wanted(claim, "main") == 4
    with pytest.raises(UnavailableError, match="lost log"):
        await build_log.end_stream(claim, "main")
    build_log = await opened(await recovered(again))
    await pushed(build_log, b"two\nthree\n")
    await ended(build_log)
    assert await in_pieces(one) == PREAMBLE + b"one\ntwo\nthree\n"


@pytest.mark.parametrize("lose_spool", [True, False])
async def test_acknowledged_end_survives_a_lost_disk(one: OneBuild, lose_spool: bool):
    await one.running()
    await ended(await opened(one), b"one\n")
    again = await recovered(one, lose_spool=lose_spool)
    build_log = await opened(again)
    assert build_log.wanted(build_log.claims[0], "main") == 4
    await again.end(build_log.claims[0], exit_status=0)
    await finish(await again.row(), again.spec, Ending(State.SUCCEEDED), again.services)
    await archive_log(await again.row(), again.services)
    await is_archived(again, PREAMBLE + b"one\n")


async def is_archived(one: OneBuild, text: bytes) -> None:
    """The archive has this text and its checksum, and no piece is left."""
    build = await one.row()
    assert (build.log_bytes, build.log_sha256) == (len(text), sha256(text).hexdigest())
    assert await object_of(one, log_object(one.build_uuid)) == text
    assert await one.database.run(registered_pieces, one.build_uuid) == []
    assert not list((one.services.settings.shuttle_data_dir / "objects").glob(f"{one.build_uuid}.log.*-*"))


@pytest.mark.parametrize("read_first", [True, False])
async def test_log_of_an_ended_build_is_archived_from_its_pieces(one: OneBuild, read_first: bool):
    await one.running()
    build_log = await opened(one)
    await ended(build_log, b"one\ntwo\n")
    await one.end(build_log.claims[0], exit_status=1)
    await finish(await one.row(), one.spec, Ending(State.FAILED, "no_space", "It failed."), one.services)
    again = restarted(one)
    if read_first:
        reader = await again.services.logs.reader(await again.row())
        assert await reader.read(0, 100) == PREAMBLE + b"one\ntwo\n"
    await archive_log(await again.row(), again.services)
    await is_archived(again, PREAMBLE + b"one\ntwo\n-----> It failed.\n")


@pytest.mark.parametrize("pieces_left", [False, True])
async def test_reader_that_comes_while_the_log_is_archived_reads_all_of_it(
    one: OneBuild, monkeypatch: pytest.MonkeyPatch, *, pieces_left: bool
):
    """The reader has read the build's row before. An empty spool instead of the removed one made it wait for ever."""
    await one.running()
    build_log = await opened(one)
    await ended(build_log, b"one\n")
    await one.end(build_log.claims[0], exit_status=1)
    await finish(await one.row(), one.spec, Ending(State.FAILED, "no_space", "It failed."), one.services)
    again = restarted(one)
    before = await again.row()
    if pieces_left:
        monkeypatch.setattr("shuttle.lifecycle.archive_log._delete_pieces", AsyncMock())
    await archive_log(before, again.services)
    again.services.library.forget(one.build_uuid)
    if pieces_left:  # in a process that has not restored the log
        again = restarted(again)
    reader = await again.services.logs.reader(before)
    assert (reader.complete, await reader.read(0, 100)) == (True, PREAMBLE + b"one\n-----> It failed.\n")
    assert again.services.library.on_disk() == []


async def test_damaged_spool_is_replaced_by_its_pieces(one: OneBuild):
    """A power cut may leave a file that is too short and has wrong bytes."""
    await one.running()
    await ended(await opened(one), b"one\ntwo\n")
    one.services.library.spool(one.build_uuid).path.write_bytes(PREAMBLE + b"\0\0\0")
    again = await recovered(one, lose_spool=False)
    reader = await again.services.logs.reader(await again.row())
    assert await reader.read(0, 100) == PREAMBLE + b"one\ntwo\n"


async def test_spool_that_another_owner_has_not_written_is_not_trusted(one: OneBuild):
    """The first owner's uncommitted bytes are still on its disk when it takes the app back."""
    await one.running()
    await ended(await opened(one), b"one\ntwo\n")
    path = one.services.library.spool(one.build_uuid).path
    path.write_bytes(path.read_bytes().replace(b"two", b"own") + b"more\n")
    again = await recovered(one, lose_spool=False)
    again.services.owned.add(Ownership("app", 9))
    reader = await again.services.logs.reader(await again.row())
    assert await reader.read(0, 100) == PREAMBLE + b"one\ntwo\n"
    assert again.services.library.spool(one.build_uuid).path.read_bytes() == PREAMBLE + b"one\ntwo\n"


async def test_sink_never_gets_bytes_of_an_outdated_spool(one: OneBuild, monkeypatch: pytest.MonkeyPatch):
    """The sink waits for the object store, and then reads the restored bytes."""
    monkeypatch.setattr("shuttle.lifecycle.log_forwarding._SPOOL_PAUSE_SECONDS", 0.01)
    await one.running()
    await ended(await opened(one), b"one\ntwo\n")
    path = one.services.library.spool(one.build_uuid).path
    path.write_bytes(path.read_bytes().replace(b"two", b"own"))
    again = await recovered(one, lose_spool=False)
    again.services.owned.add(Ownership("app", 9))
    sink = ReadingSink()
    url = "http://sink.example/"
    target = SinkTarget(sink_id=1, build_uuid=one.build_uuid, app_id="app", build_id="1", metadata_json="null", url=url)
    forwarding = LogForwarding(again.services, {EndpointKind.HTTP: sink})
    monkeypatch.setattr(forwarding, "_still_open", AsyncMock(return_value=target))
    with Away(one):
        assert await forwarding._forward_once(target, await one.row()) is target
    assert await forwarding._forward_once(target, await one.row()) is None
    assert sink.read == [PREAMBLE + b"one\ntwo\n"]


class ReadingSink:
    """Reads what it can read at once."""

    def __init__(self) -> None:
        self.read: list[bytes] = []

    async def forward(self, _target: SinkTarget, log: LogReader, *_: object) -> None:
        self.read.append(await log.read(0, 100))


async def test_spool_that_is_complete_is_not_downloaded_again(one: OneBuild):
    await one.running()
    await ended(await opened(one), b"one\n")
    mine = one.services.owned.ownership("app")
    assert mine is not None
    again = await recovered(one, lose_spool=False)
    again.services.owned.add(Ownership("app", mine.epoch + 1))
    with Away(one):
        assert await (await again.services.logs.reader(await again.row())).read(0, 100) == PREAMBLE + b"one\n"


async def test_owner_that_has_lost_the_app_stops_uploading(one: OneBuild, monkeypatch: pytest.MonkeyPatch):
    await one.running()
    build_log = await opened(one)
    await pushed(build_log, b"one\n")

    def lost(*_: object) -> None:
        raise NotOwnerError

    with monkeypatch.context() as patch:
        patch.setattr(f"{WRITER}.register_piece", lost)
        with pytest.raises(NotOwnerError):
            await build_log.keep()
    assert await one.database.run(registered_pieces, one.build_uuid) == []


async def test_end_of_a_stream_that_is_being_stored_is_refused_at_once_when_the_app_is_lost(
    one: OneBuild, monkeypatch: pytest.MonkeyPatch
):
    """Before, the agent got no answer to its last push for 20 s."""
    await one.running()
    build_log, storing = await opened(one), asyncio.Event()

    async def hang(*_: object, **__: object) -> None:
        storing.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(one.services.objects, "put_part", hang)
    ending = asyncio.create_task(ended(build_log, b"one\n"))
    async with asyncio.timeout(5):
        await storing.wait()
        one.services.owned.drop("app")
        with pytest.raises(NotOwnerError):
            await ending
        with pytest.raises(NotOwnerError):
            await build_log.keep()


async def test_overlapping_pieces_of_two_processes_give_one_log(one: OneBuild):
    await one.running()
    await ended(await opened(one), b"one\ntwo\n")
    text = PREAMBLE + b"one\ntwo\n"
    for piece in (Piece(0, 5), Piece(3, 8), Piece(3, 4)):
        name = piece_object(one.build_uuid, piece.offset_bytes, piece.size_bytes)
        part = one.services.settings.shuttle_data_dir / "part"
        part.write_bytes(text[piece.offset_bytes : piece.end_bytes])
        await one.services.objects.put(name, part, content_type="text/plain")
        part.unlink()
        checkpoint = (await one.row()).checkpoint
        await one.database.run(keep_piece, one.build_uuid, piece, (), checkpoint)
    again = await recovered(one)
    reader = await again.services.logs.reader(await again.row())
    assert await reader.read(0, 100) == text


async def test_log_is_opened_by_three_transactions(one: OneBuild, monkeypatch: pytest.MonkeyPatch):
    """After a takeover many logs are opened at once, and pushes wait behind these transactions."""
    await one.running()
    await ended(await opened(one), b"one\n")
    again = await recovered(one)
    queries: list[object] = []
    run = one.database.run

    async def counted(query: Any, *arguments: Any, **named: Any) -> Any:
        queries.append(query)
        return await run(query, *arguments, **named)

    monkeypatch.setattr(one.database, "run", counted)
    await opened(again)
    assert len(queries) == 3


async def test_restore_waits_for_an_object_store_that_is_away(one: OneBuild):
    await one.running()
    await ended(await opened(one), b"one\n")
    again = await recovered(one)
    with Away(one), pytest.raises(ObjectStoreError):
        await again.services.logs.open(one.build_uuid)
    assert (await opened(again)).wanted((await opened(again)).claims[0], "main") == 4


@pytest.mark.parametrize("open_by", ["agent", "reader"])
async def test_restore_ends_at_once_when_the_app_is_lost(open_by: str, one: OneBuild, monkeypatch: pytest.MonkeyPatch):
    """The object store hangs, but only for this replica: the next owner can already answer agents and readers."""
    build = await one.running()
    await ended(await opened(one), b"one\n")
    again, reading = await recovered(one), asyncio.Event()
    logs, owned = again.services.logs, again.services.owned

    @asynccontextmanager
    async def hanging(*_: object) -> AsyncIterator[None]:
        reading.set()
        await asyncio.Event().wait()
        yield

    monkeypatch.setattr(one.services.objects, "open", hanging)
    opening = asyncio.ensure_future(logs.open(one.build_uuid) if open_by == "agent" else logs.reader(build))
    async with asyncio.timeout(5):
        await reading.wait()
        owned.drop("app")
        with pytest.raises(NotOwnerError):
            await opening
    monkeypatch.undo()
    owned.add(Ownership("app", 3))
    assert (await opened(again)).wanted((await opened(again)).claims[0], "main") == 4


async def test_piece_that_is_replaced_during_a_restore_is_read_from_the_larger_one(
    one: OneBuild, monkeypatch: pytest.MonkeyPatch
):
    await one.running()
    await ended(await opened(one), b"one\n")
    again = await recovered(one)
    seen = [StoredPieces([Piece(0, 5)])]
    newest = stored_pieces

    def outdated(tx: Tx, build_uuid: str) -> StoredPieces | None:
        return seen.pop() if seen else newest(tx, build_uuid)

    monkeypatch.setattr("shuttle.lifecycle.log_pieces.stored_pieces", outdated)
    reader = await again.services.logs.reader(await again.row())
    assert await reader.read(0, 100) == PREAMBLE + b"one\n"


async def test_missing_piece_is_sent_again_by_the_agent(one: OneBuild):
    """The database was restored from a backup that names pieces which were replaced later."""
    await one.running()
    await ended(await opened(one), b"one\n")
    for piece in await one.database.run(registered_pieces, one.build_uuid):
        await one.services.objects.delete(piece_object(one.build_uuid, piece.offset_bytes, piece.size_bytes))
    again = await recovered(one)
    build_log = await opened(again)
    assert build_log.wanted(build_log.claims[0], "main") == 0
    await ended(build_log, b"one\n")
    assert await in_pieces(one) == PREAMBLE + b"one\n"
