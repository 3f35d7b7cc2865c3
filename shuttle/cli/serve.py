"""`shuttle serve` and `shuttle migrate`: run the service, and migrate its database."""

from shuttle.cli.failures import CommandError


def serve() -> None:
    """Run the service; its settings are environment variables, documented in .env.example."""
    import asyncio
    import gc
    import os
    import sys

    from shuttle.settings import load_settings

    gc.disable()  # until all is imported: garbage collection took 60 of the 830 ms of the imports
    settings = load_settings()  # before the slow imports, so that invalid settings are reported at once
    from shuttle.serve import serve as serve_until_signal

    try:
        asyncio.run(serve_until_signal(settings))
    except OSError as error:  # the port is in use, the data directory is not writable, the disk is full
        raise CommandError(f"The service cannot run: {error}.") from error
    # Everything is closed and durable. A thread may still wait for a response of S3 or Jenkins (at most 90 s), and the
    # interpreter would wait for the thread.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def migrate() -> None:
    """Migrate the database to the current schema; `serve` does it as well."""
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
