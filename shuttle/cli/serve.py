"""`shuttle serve`: runs the service."""

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
