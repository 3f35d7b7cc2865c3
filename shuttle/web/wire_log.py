"""What the HTTP server itself has to say of its connections, as lines of our log."""

import logging

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


def hear_the_server() -> None:
    """From now on aiohttp's server speaks through a WireLog only."""
    server = logging.getLogger("aiohttp.server")
    server.handlers = [WireLog(logging.WARNING)]
    server.propagate = False
