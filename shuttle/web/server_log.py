"""Faults that the HTTP server and the event loop report, as lines of the service's log."""

import asyncio
import errno
import logging
from typing import Any

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

log = structlog.get_logger()


class ServerLog(logging.Handler):
    """Logs one line per disconnected client or malformed request, for which aiohttp writes a traceback of 30 lines."""

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, (ConnectionError, TimeoutError)):
            log.info("client disconnected or stopped reading before the response was sent", fault=type(error).__name__)
        elif isinstance(error, (HttpProcessingError, web.RequestPayloadError)):
            # Without the error's text, which quotes the request.
            log.info("malformed HTTP request", fault=type(error).__name__)
        else:
            log.error("HTTP server error", what=record.getMessage(), exc_info=error)


class EventLoopLog:
    """Logs what the event loop reports, but a lack of file descriptors at most once a second.

    asyncio reports that lack with a traceback for each connection that it cannot accept: 40 MiB in 20 s were seen.
    """

    def __init__(self) -> None:
        self._next_at = 0.0

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """See asyncio.loop.set_exception_handler."""
        error = context.get("exception")
        if not isinstance(error, OSError) or error.errno not in {errno.EMFILE, errno.ENFILE}:
            log.error("event loop error", what=context["message"], exc_info=error)
        elif loop.time() >= self._next_at:
            self._next_at = loop.time() + 1.0
            log.error("no file descriptor is left: raise the limit of open files, or lower SHUTTLE_MAX_CONNECTIONS")


def redirect_server_log() -> None:
    """From now on aiohttp's server logs through a ServerLog only."""
    server = logging.getLogger("aiohttp.server")
    server.handlers = [ServerLog(logging.WARNING)]
    server.propagate = False
