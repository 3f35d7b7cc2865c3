"""The steps of a move, each of which can be repeated after a kill.

1. The SQLite file is locked; the PostgreSQL database is migrated; the keys are checked; the database is reserved.
2. Objects and running logs are uploaded. If the move ends before step 3, the SQLite file can still be served.
3. The file is marked: it is being moved, and nobody serves from it.
4. One transaction of PostgreSQL copies all rows, reads them back, and records the move.
5. The file is marked: it was moved. A kill between 4 and 5 is recognized by the record in PostgreSQL.
"""

import asyncio
import uuid
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import sqlalchemy as sa

from shuttle.errors import MoveRefusedError
from shuttle.move import Report, Sum, report_from
from shuttle.move.objects import stored_objects, upload_all
from shuttle.move.rows import COPIED_TABLES, Row, rows_of
from shuttle.move.running_logs import RunningLog, piece_rows, running_log
from shuttle.move.source import Source, opened_source
from shuttle.move.target import Target
from shuttle.objects.s3 import S3Store
from shuttle.store.moves import Move
from shuttle.store.tables import builds, log_pieces
from shuttle.vault import open_vault, read_key_file


@dataclass(frozen=True, slots=True)
class MoveRequest:
    """What is moved, and where to. `keys` are the encryption keys of the service on PostgreSQL.

    `direct_url` also leads to the target, but not through a pooler; "" = as `target_url`.
    """

    path: Path
    data_dir: Path
    target_url: str
    keys: tuple[str, ...]
    lease_seconds: float
    direct_url: str = ""


async def move_database(request: MoveRequest, store: S3Store, say: Callable[[str], None] = lambda _: None) -> Report:
    """Move everything, or complete a move that was interrupted; returns the sums of both sides, which are equal.

    `say` is called with a sentence about the progress.

    Raises:
        MoveRefusedError: one sentence that says what to do. SettingsError: the keys do not fit.
        StoreError, ObjectStoreError: one of the servers does not answer; repeat the call.
    """
    target = Target(request.target_url, request.direct_url)
    try:
        with opened_source(request.path, request.data_dir) as source:
            await asyncio.to_thread(target.prepare)
            earlier = source.move()
            done = _completed(earlier, source, target)
            return done or await _move(request, source, target, store, say)
    finally:
        target.close()


def _completed(earlier: Move | None, source: Source, target: Target) -> Report | None:
    """The report of an earlier run that has copied everything; the file is marked if that run could not do it."""
    if earlier is None:
        return None
    arrived = target.move()
    if arrived is not None and arrived.move_id == earlier.move_id:
        if earlier.ended_at is None:
            source.end()
        return report_from(arrived.report)
    if earlier.ended_at is not None:
        raise MoveRefusedError(f"{source.path} was moved to {earlier.other} already; serve from there.")
    if earlier.other != target.name:
        raise MoveRefusedError(f"{source.path} is being moved to {earlier.other}; repeat the command with that target.")
    return None


async def _move(
    request: MoveRequest, source: Source, target: Target, store: S3Store, say: Callable[[str], None]
) -> Report:
    _check_keys(request, source.sealed())
    await store.check()
    await asyncio.to_thread(target.reserve, request.lease_seconds)
    objects = await upload_all(stored_objects(source), store, lambda count: say(f"{count} objects are in the bucket"))
    logs = [running_log(build, source.data_dir / "spool") for build in source.running_logs()]
    pieces = await upload_all((upload for log in logs for upload in log.uploads()), store)
    # The upload may have taken hours, in which the server may have been restarted.
    await asyncio.to_thread(target.reserve, request.lease_seconds)
    say("copying the rows of all tables")
    begun = Move(str(uuid.uuid4()), target.name, source.clock.now())
    source.begin(begun)
    uploaded = {"objects": objects, "running logs": pieces}
    filling = asyncio.create_task(asyncio.to_thread(_fill, source, target, logs, uploaded))
    try:
        report = await asyncio.shield(filling)
    except BaseException:  # an error, or Ctrl-C
        target.abort()
        await asyncio.wait([filling])
        source.withdraw()
        raise
    arrived = replace(begun, other=str(source.path), ended_at=source.clock.now(), report=report.as_json())
    await asyncio.to_thread(target.commit, arrived)
    source.end()
    return report


def _fill(source: Source, target: Target, logs: list[RunningLog], uploaded: dict[str, tuple[Sum, Sum]]) -> Report:
    with source.engine.begin() as connection:
        tables: dict[str, Iterable[Row]] = {table.name: rows_of(connection, table) for table in COPIED_TABLES}
        checkpoints = _checkpoints(connection, logs)
        given, read_back = target.fill(tables | {log_pieces.name: piece_rows(logs, checkpoints)})
    report = Report(
        {**given, **{name: sums[0] for name, sums in uploaded.items()}},
        {**read_back, **{name: sums[1] for name, sums in uploaded.items()}},
    )
    if report.differences:
        raise MoveRefusedError(
            f"The copy differs from the original ({', '.join(report.differences)}); nothing was moved."
        )
    return report


def _checkpoints(connection: sa.Connection, logs: list[RunningLog]) -> dict[str, str | None]:
    """The checkpoints of the builds, as JSON texts."""
    query = sa.select(sa.type_coerce(builds.c.checkpoint, sa.Text)).where(
        builds.c.build_uuid == sa.bindparam("build_uuid")
    )
    uuids = [log.build.build_uuid for log in logs]
    return {build_uuid: connection.execute(query, {"build_uuid": build_uuid}).scalar() for build_uuid in uuids}


def _check_keys(request: MoveRequest, sealed: list[bytes]) -> None:
    """Refuse unless the keys decrypt what is moved, and can compare repeated requests with those that are recorded."""
    key = read_key_file(request.data_dir)
    if key is not None and urlsafe_b64decode(key) not in {urlsafe_b64decode(known) for known in request.keys}:
        raise MoveRefusedError(
            f"SHUTTLE_ENCRYPTION_KEYS lacks the key in {request.data_dir}/encryption.key, with which recorded secrets"
            " are encrypted; add it, after a comma."
        )
    open_vault(request.keys, request.data_dir, sealed, make=False)
