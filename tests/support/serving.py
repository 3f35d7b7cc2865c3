"""A web application on a free port, for tests and benchmarks."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ssl import SSLContext

from aiohttp import web

_BACKLOG = 4096


@asynccontextmanager
async def serving(app: web.Application, tls: SSLContext | None = None) -> AsyncIterator[str]:
    """Serve the app on a free port of loopback; yields its base URL, without a slash at the end."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    listener = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
    site = web.SockSite(runner, listener, backlog=_BACKLOG, ssl_context=tls)
    await site.start()
    try:
        yield f"{'http' if tls is None else 'https'}://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        await _stop_accepting(listener)
        await runner.cleanup()


async def _stop_accepting(listener: socket.socket) -> None:
    """Accept no more connections, and let the loop make those that it has accepted.

    If a server is closed in between, asyncio of Python 3.11 never closes their sockets. The warning about them would
    fail whichever test runs when they are collected.
    """
    asyncio.get_running_loop().remove_reader(listener.fileno())
    for _ in range(3):
        await asyncio.sleep(0)
