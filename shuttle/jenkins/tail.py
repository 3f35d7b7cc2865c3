"""One progressiveText answer as a stream: Jenkins' text from a raw offset on, with the offset that comes next.

What Jenkins does (recorded): X-Text-Size is an offset into the raw file, not the body's length; X-More-Data is absent
at the end; one answer can be the whole rest of a log (200 MB in one chunked body), so it is never held in memory; a
`start` beyond the size is answered with the whole log again.
"""

from collections.abc import AsyncIterator

import aiohttp

from shuttle.errors import JenkinsUnavailableError
from shuttle.jenkins import LogResponse
from shuttle.jenkins.session import unavailable

# No log is longer, and int() refuses some thousand.
_MOST_DIGITS = 18


def read_log(response: aiohttp.ClientResponse, start: int) -> LogResponse:
    """The answer to `progressiveText?start=<start>`, status 200.

    A log that became shorter than `start` (a crash of Jenkins can lose the last seconds of a file): while more is to
    come it is unknown what will stand at `start`, hence JenkinsUnavailableError; at its end nothing stands there, hence
    an empty last answer. Its old text is never passed on twice.

    Raises:
        JenkinsUnavailableError: no usable X-Text-Size (something else answers in Jenkins' place), a body whose end
            could not be told from a cut, or a running log that is shorter than `start`.
    """
    size = _text_size(response)
    more = response.headers.get("X-More-Data") == "true"
    if size < start:
        if more:
            raise JenkinsUnavailableError("Jenkins' log of the build is shorter than what was already read of it.")
        return LogResponse(_nothing(), next_start=start, more=False)
    if response.content_length is None and response.headers.get("Transfer-Encoding", "").lower() != "chunked":
        raise JenkinsUnavailableError("Something between us and Jenkins removed the length of the log's text.")
    return LogResponse(_chunks(response), next_start=size, more=more)


def _text_size(response: aiohttp.ClientResponse) -> int:
    size = response.headers.get("X-Text-Size", "")
    if not (size.isascii() and size.isdigit() and len(size) <= _MOST_DIGITS):
        raise JenkinsUnavailableError("Something answers in Jenkins' place: a log without X-Text-Size.")
    return int(size)


async def _chunks(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    while chunk := await _next_chunk(response):
        yield chunk


async def _next_chunk(response: aiohttp.ClientResponse) -> bytes:
    """What has arrived, b"" once the body is whole; only our reading is guarded, never what the reader does with it."""
    try:
        return await response.content.readany()
    except (aiohttp.ClientError, OSError) as error:
        raise unavailable(error) from None


async def _nothing() -> AsyncIterator[bytes]:
    no_chunks: tuple[bytes, ...] = ()
    for chunk in no_chunks:
        yield chunk
