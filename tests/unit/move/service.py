"""The stopped service on SQLite that the tests move: rows of all tables, objects, and the logs of running builds."""

import hashlib
import shutil
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from cryptography.fernet import Fernet

from shuttle.objects.directory import DirectoryStore
from shuttle.objects.names import artifact_object, legacy_log_object, log_object, source_object
from shuttle.store import tables
from shuttle.store.migrate import bring_up_to_date
from shuttle.store.sqlite import sqlite_engine
from shuttle.vault import Vault
from tests.support.shuttle_store import build_row

AT = datetime(2030, 1, 1, 12, 30, 15, 123456, tzinfo=UTC)
PIECE_BYTES = 8 * 1024 * 1024 - 1
LONG = "long-" * 50


@dataclass
class StoppedService:
    """`objects` are the contents of its objects by name, `logs` the recorded bytes of its running builds' logs.

    Its representation has no contents, because asyncio represents the result of each fixture.
    """

    folder: Path
    key: str = field(default_factory=lambda: Fernet.generate_key().decode())
    objects: dict[str, bytes] = field(default_factory=dict, repr=False)
    logs: dict[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def path(self) -> Path:
        return self.folder / "shuttle.db"


def bytes_of(name: str, size_bytes: int) -> bytes:
    """Different bytes for each name."""
    return (hashlib.sha256(name.encode()).hexdigest().encode() * (size_bytes // 64 + 1))[:size_bytes]


def copied(service: StoppedService, folder: Path) -> StoppedService:
    """The same service in the new directory `folder`: a copy takes a tenth of the time that making it takes."""
    shutil.copytree(service.folder, folder)
    return replace(service, folder=folder)


async def stopped_service(folder: Path) -> StoppedService:
    """Make the service in the new directory `folder`."""
    service = StoppedService(folder)
    (folder / "spool").mkdir(parents=True)
    (folder / "encryption.key").write_text(service.key)
    _write_rows(service)
    _write_logs(service)
    names = [*map(source_object, ("u0", "u1", "u2", "u9-of-the-old-shuttle")), log_object("u0"), log_object("u3")]
    names += [artifact_object("u0", "dist/a b.tar"), artifact_object("u0", LONG), legacy_log_object(LONG, "3")]
    store = DirectoryStore(folder / "objects")
    for number, name in enumerate(names):
        service.objects[name] = bytes_of(name, 100 + number)
        written = folder / "written"
        written.write_bytes(service.objects[name])
        await store.put(name, written, content_type=f"text/x-{number}")
        written.unlink()
    await store.close()
    return service


def _write_rows(service: StoppedService) -> None:
    sealed = Vault([service.key]).seal(b'{"url": "s"}')
    engine = sqlite_engine(service.path)
    bring_up_to_date(engine)
    with engine.begin() as connection:
        for number, app_id in enumerate(("app", "äpp → ☃", LONG)):
            row = {"app_id": app_id, "job_name": f"job{number}", "created_at": AT, "next_number": 2**40}
            connection.execute(tables.apps.insert(), row | {"owner": "of-an-earlier-process", "epoch": 3})
        ended = {"archived_at": None, "finished_at": AT, "log_bytes": 1016, "log_ending": "the reason\0line\n"}
        unfinished = {"archived_at": None, "finished_at": None}
        claimed = {"claimed_at": AT + timedelta(microseconds=1), "preamble": "first line\n"}
        for row in (
            build_row("app", 0, AT, labels={"ä": "→"}, message="tab\tback\\slash\nline", log_bytes=2**33),
            build_row("app", 1, AT, state="recorded", **unfinished),
            build_row(
                "app", 2, AT, state="running", checkpoint=_checkpoint(2 * PIECE_BYTES + 5), **unfinished | claimed
            ),
            build_row(LONG, 3, AT, api="legacy", checkpoint=None),
            build_row("app", 4, AT, state="failed", checkpoint=_checkpoint(1000), **claimed | ended),
            build_row("app", 5, AT, state="running", checkpoint=_checkpoint(5000), **unfinished | claimed),
            build_row("app", 6, AT, state="running", **unfinished | claimed),
        ):
            connection.execute(tables.builds.insert(), row | {"plan": sealed, "timeout_seconds": 0.1})
        endpoint = {"build_uuid": "u0", "place": 0, "kind": "http", "host": "h", "target": sealed, "state": "open"}
        connection.execute(tables.receivers.insert(), endpoint | {"receiver_id": 7, "failovers": [{"at": "x"}]})
        connection.execute(tables.sinks.insert(), endpoint | {"acked_offset": 2**35})
        event = {"build_uuid": "u0", "sequence": 1, "webhook_id": "m", "status": "failed", "body": b"\0\xff{}"}
        connection.execute(tables.events.insert(), event | {"created_at": AT, "event_id": 5})
        delivery = {"delivery_id": 9, "receiver_id": 7, "event_id": 5, "next_attempt_at": AT}
        connection.execute(tables.deliveries.insert(), delivery)
        attempt = {"delivery_id": 9, "started_at": AT, "took_seconds": 1 / 3, "outcome": "retry", "status_code": 500}
        connection.execute(tables.attempts.insert(), attempt)
        artifact = {"build_uuid": "u0", "size_bytes": 1, "sha256": "", "content_type": "", "created_at": AT}
        for name in ("dist/a b.tar", LONG):
            connection.execute(tables.artifacts.insert(), artifact | {"name": name})
        claim = {"build_uuid": "u2", "nonce_digest": "", "setup_digest": "", "run_digest": "", "claimed_at": AT}
        connection.execute(tables.claims.insert(), claim | {"claim_id": 12, "with_credentials": True})
        segment = {"build_uuid": "u2", "claim_id": 12, "stream": "main", "raw_start": 0, "raw_stop": 2**34}
        connection.execute(
            tables.log_segments.insert(),
            [segment | {"position": number, "raw_digest": "", "text_bytes": 1} for number in range(2500)],
        )
        upload = {"build_uuid": "u9", "announced_at": AT, "holder": "h", "new_object": False}
        connection.execute(tables.early_sources.insert(), upload)
        anchor = {"only": 1, "steady_at": AT, "boot_id": "b", "uptime_seconds": 12.5}
        connection.execute(tables.steady_time.insert(), anchor)
        # Both are read as None.
        connection.execute(
            tables.builds.update().where(tables.builds.c.build_uuid == "u0").values(checkpoint=sa.null())
        )
    engine.dispose()


def _checkpoint(offset: int) -> dict[str, Any]:
    return {"log_offset": offset, "log": {"ä": 1.5}, "streams": {}}


def _write_logs(service: StoppedService) -> None:
    """u2: bytes that are not recorded follow. u4: the reason line follows. u5: a part is lost. u6: only a preamble."""
    spools = {"u2": 2 * PIECE_BYTES + 99, "u4": 1016, "u5": 3000, "u6": len("first line\n")}
    recorded = {"u2": 2 * PIECE_BYTES + 5, "u4": 1000, "u5": 3000}
    for build_uuid, size_bytes in spools.items():
        content = bytes_of(build_uuid, size_bytes)
        (service.folder / "spool" / f"{build_uuid}.log").write_bytes(content)
        if build_uuid in recorded:
            service.logs[build_uuid] = content[: recorded[build_uuid]]
