"""`shuttle migrate`: migrates the database to the current schema, or moves it from SQLite to PostgreSQL."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shuttle.cli.failures import UsageError
from shuttle.cli.hidden_url import read_url
from shuttle.cli.options import Json
from shuttle.cli.tables import print_table

if TYPE_CHECKING:
    from shuttle.move import Report
    from shuttle.settings import Settings


def migrate(
    moved_from: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="URL",
            show_default=False,
            help="Move all data of the service on this database (sqlite:///PATH) to PostgreSQL and S3_BUCKET. Stop that"
            " service first. SHUTTLE_DATA_DIR is its data directory, by default the directory of PATH.",
        ),
    ] = "",
    to: Annotated[
        str,
        typer.Option(
            metavar="URL",
            show_default=False,
            help="The PostgreSQL database, which must be empty; the default is DATABASE_URL. With -, it is read from"
            " standard input, because all users of the machine can see a password on a command line.",
        ),
    ] = "",
    as_json: Json = False,
) -> None:
    """Migrate the database to the current schema, as `serve` does; with --from, move it to PostgreSQL."""
    if moved_from:
        _move(moved_from, to, as_json=as_json)
    elif to or as_json:
        raise UsageError("--to and --json need --from: name the database to be moved, as sqlite:///PATH.")
    else:
        _migrate()


def _migrate() -> None:
    import asyncio

    from shuttle.settings import load_settings

    settings = load_settings()
    from shuttle.app import open_database
    from shuttle.clock import Clock

    async def bring_up_to_date() -> str:
        database = open_database(settings, Clock())
        try:
            return await database.migrate()
        finally:
            await database.close()

    revision = asyncio.run(bring_up_to_date())
    where = "The database of DATABASE_URL" if settings.postgres_url else settings.database_path
    print(f"{where} is at revision {revision}")


def _move(moved_from: str, to: str, *, as_json: bool) -> None:
    import asyncio

    path = _sqlite_path(moved_from)
    settings = _settings_of_target(to)
    from shuttle.app import object_store
    from shuttle.move.run import MoveRequest, move_database
    from shuttle.objects.s3 import S3Store

    request = MoveRequest(
        path=path,
        data_dir=settings.shuttle_data_dir if "shuttle_data_dir" in settings.model_fields_set else path.parent,
        target_url=settings.postgres_url,
        direct_url="" if to else settings.shuttle_database_migrate_url.get_secret_value(),
        keys=tuple(key.get_secret_value() for key in settings.shuttle_encryption_keys),
        lease_seconds=settings.shuttle_lease_seconds,
    )

    async def move() -> "Report":
        store = object_store(settings)
        assert isinstance(store, S3Store)  # noqa: S101 - PostgreSQL needs S3_BUCKET
        try:
            return await move_database(request, store, lambda sentence: print(sentence, file=sys.stderr))
        finally:
            await store.close()

    report = asyncio.run(move())
    if as_json:
        print(json.dumps(report.as_json()))
        return
    rows = [
        (name, before.count, after.count, after.size_bytes or "", before.sha256, after.sha256)
        for name, before in report.moved_from.items()
        for after in [report.moved_to[name]]
    ]
    print_table(("what", "before", "after", "bytes", "digest before", "digest after"), rows)
    print(f"{path} was moved; start `shuttle serve` with DATABASE_URL")


def _sqlite_path(url: str) -> Path:
    from shuttle.settings.values import check_database_url, is_postgres

    try:
        check_database_url(url)
    except ValueError as error:
        raise UsageError(f"--from: {error}.") from None
    if is_postgres(url):
        raise UsageError("--from: write sqlite:///PATH; only a SQLite database can be moved.")
    return Path(url.removeprefix("sqlite:///"))


def _settings_of_target(to: str) -> "Settings":
    """The settings of the service on PostgreSQL."""
    from shuttle.settings import load_settings
    from shuttle.settings.values import is_postgres

    url = read_url("--to", to, "")
    if url and not is_postgres(url):
        raise UsageError("--to: write postgresql://USER:PASSWORD@HOST:PORT/DATABASE.")
    settings = load_settings(None, **({"database_url": url} if url else {}))
    if not settings.postgres_url:
        raise UsageError("--from needs a PostgreSQL database: set DATABASE_URL, or name it with --to.")
    return settings
