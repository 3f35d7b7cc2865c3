"""What the HTTP server itself has to say of its connections, as lines of our log."""

import asyncio
import errno
import logging
from typing import Any

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

log = structlog.get_logger()


class WireLog(logging.Handler):
    """Callers that go away or speak no HTTP are everyday: a line for each, where aiohttp writes a traceback of 30."""

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, (ConnectionError, TimeoutError)):
            log.info("a caller was gone, or took nothing, before it had its answer", fault=type(error).__name__)
        elif isinstance(error, (HttpProcessingError, web.RequestPayloadError)):
            # Not its text, which quotes what was sent.
            log.info("a request could not be read", fault=type(error).__name__)
        else:
            log.error("the HTTP server failed", what=record.getMessage(), exc_info=error)


class LoopLog:
    """What the event loop reports, as lines of our log; that no file can be opened once a second at most.

    asyncio reports that for each connection that it cannot accept, with a traceback: 40 MiB in 20 s were seen.
    """

    def __init__(self) -> None:
        self._next_at = 0.0

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """See asyncio.loop.set_exception_handler."""
        error = context.get("exception")
        if not isinstance(error, OSError) or error.errno not in {errno.EMFILE, errno.ENFILE}:
            log.error("the event loop reports a fault", what=context["message"], exc_info=error)
        elif loop.time() >= self._next_at:
            self._next_at = loop.time() + 1.0
            log.error("no file can be opened: raise the limit of open files, or lower SHUTTLE_MAX_CONNECTIONS")


def hear_the_server() -> None:
    """From now on aiohttp's server speaks through a WireLog only."""
    server = logging.getLogger("aiohttp.server")
    server.handlers = [WireLog(logging.WARNING)]
    server.propagate = False
