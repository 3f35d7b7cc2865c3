"""http:// and https:// sources: stream the bytes of a stranger's server into a file."""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from io import BufferedWriter
from pathlib import Path
from typing import NoReturn
from urllib.parse import urljoin, urlsplit

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from shuttle.errors import AddressRefusedError, BuildFailedError, UnavailableError
from shuttle.outgoing.faults import what_broke, why_unconnected
from shuttle.outgoing.lenient_client import BrokenBodyError, ResponseHeadTooLargeError
from shuttle.outgoing.userinfo import Credentials, basic_authorization, split_userinfo, without_userinfo
from shuttle.sources import FetchedSource, SourceLimits

MAX_REDIRECTS = 10
# Hashed and written in a thread: a whole block pays for the hop, a small source needs one.
_BLOCK_BYTES = 1024 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# Of the 4xx these say "later" (RFC 9110, 15.5.9; RFC 8470; RFC 6585).
_LATER = frozenset({408, 425, 429})
# Everything that RFC 3986 allows in a URL: such a one is sent as written, since a signature may cover its escapes.
_AS_WRITTEN = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]*")
_CONTENT_TYPE = re.compile(r"[\x20-\x7e]{1,255}")
UNKNOWN_TYPE = "application/octet-stream"

Origin = tuple[str, str | None, int | None]


class HttpFetcher:
    """Fetches http(s) sources over a session made by `outgoing_session`, which keeps it off forbidden addresses.

    The bytes are kept as sent, as curl does, also when the server names a Content-Encoding: we ask for `identity`, so
    what is still encoded is a file stored that way (`.tar.gz` as `application/x-tar` with `gzip`), and its checksum is
    that of the file. The end of an answer with neither length nor chunks (HTTP/1.0) is wherever the connection ends.
    """

    def __init__(
        self, session: aiohttp.ClientSession, *, stall_seconds: float = 30, max_redirects: int = MAX_REDIRECTS
    ) -> None:
        self._session = session
        self._stall_seconds = stall_seconds
        self._max_redirects = max_redirects

    async def fetch(self, url: str, into: Path, limits: SourceLimits, headers: Mapping[str, str]) -> FetchedSource:
        """Stream `url` into the file `into`, which is left only when it is whole; `headers` go to its origin only.

        Raises:
            BuildFailedError: `source_not_found` (404, 410), `source_refused` (401, 403, a forbidden address),
                `source_redirects` (more than MAX_REDIRECTS), `source_too_large`, `source_failed` (any other answer
                that will not get better).
            UnavailableError: 5xx, 408, 425, 429, no name, refused, reset, stalled or cut off.
        """
        shown = _shown(url)
        with _named_troubles(shown, self._stall_seconds):
            async with self._final_answer(url, shown, headers) as answer:
                _check_status(answer.status, shown)
                _check_size(answer.content_length or 0, limits, shown)
                return await _receive(answer, into, limits, shown)

    @asynccontextmanager
    async def _final_answer(
        self, url: str, shown: str, headers: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Follow redirects; each host gets only the headers and credentials that were given for its own origin."""
        known: dict[Origin, Credentials] = {}
        first: Origin | None = None
        for _ in range(self._max_redirects + 1):
            url, credentials = split_userinfo(url)
            target = _target(url, shown)
            if credentials is not None:
                known[_origin(target)] = credentials
            first = first or _origin(target)
            async with self._session.get(
                target,
                headers=_headers(known.get(_origin(target)), headers if _origin(target) == first else {}),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=self._stall_seconds, sock_read=self._stall_seconds
                ),
            ) as answer:
                if answer.status not in _REDIRECTS:
                    yield answer
                    return
                url = _redirected(url, answer.headers.get("Location", ""), shown)
        raise BuildFailedError(
            "source_redirects", f"{shown} redirects more than {self._max_redirects} times; give the final address."
        )


def _headers(credentials: Credentials | None, given: Mapping[str, str]) -> CIMultiDict[str]:
    headers = CIMultiDict({"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "build-shuttle"})
    if credentials is not None:
        headers["Authorization"] = basic_authorization(credentials)
    headers.update(given)
    return headers


def _redirected(url: str, location: str, shown: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise _unusable(shown) from None


def _target(url: str, shown: str) -> URL:
    try:
        target = URL(url, encoded=_AS_WRITTEN.fullmatch(url) is not None)
        usable = target.scheme in {"http", "https"} and bool(target.raw_host) and target.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise _unusable(shown)
    return target


def _unusable(shown: str) -> BuildFailedError:
    return BuildFailedError("source_failed", f"{shown} leads to an address that is no usable http or https URL.")


def _origin(url: URL) -> Origin:
    return url.scheme, url.raw_host and url.raw_host.lower(), url.port


def _check_status(status: int, shown: str) -> None:
    if status in {200, 203}:
        return
    if status >= 500 or status in _LATER:
        raise UnavailableError(f"{shown} answers {status}.")
    if status in {404, 410}:
        raise BuildFailedError("source_not_found", f"{shown} answers {status}: there is no such source.")
    if status in {401, 403}:
        raise BuildFailedError(
            "source_refused",
            f"{shown} answers {status}: give valid credentials, in source.headers or like https://user:password@host/.",
        )
    raise BuildFailedError("source_failed", f"{shown} answers {status} instead of the source.")


def _check_size(size_bytes: int, limits: SourceLimits, shown: str) -> None:
    if size_bytes > limits.max_source_bytes:
        raise BuildFailedError(
            "source_too_large", f"{shown} is larger than the {limits.max_source_bytes} bytes that a source may have."
        )


async def _receive(answer: aiohttp.ClientResponse, into: Path, limits: SourceLimits, shown: str) -> FetchedSource:
    size_bytes = 0
    digest = hashlib.sha256()
    try:
        with into.open("wb") as file:
            async for block in _blocks(answer.content):
                size_bytes += len(block)
                _check_size(size_bytes, limits, shown)
                await asyncio.to_thread(_keep, block, file, digest.update)
    except BaseException:
        into.unlink(missing_ok=True)
        raise
    content_type = answer.headers.get("Content-Type", "")
    return FetchedSource(
        into, size_bytes, digest.hexdigest(), content_type if _CONTENT_TYPE.fullmatch(content_type) else UNKNOWN_TYPE
    )


async def _blocks(content: aiohttp.StreamReader) -> AsyncIterator[bytearray]:
    block = bytearray()
    async for chunk in content.iter_any():
        block += chunk
        if len(block) >= _BLOCK_BYTES:
            yield block
            block = bytearray()
    if block:
        yield block


def _keep(block: bytearray, file: BufferedWriter, update: Callable[[bytearray], None]) -> None:
    file.write(block)
    update(block)


@contextmanager
def _named_troubles(shown: str, stall_seconds: float) -> Iterator[None]:
    """Say what the network did, without the query and the credentials that aiohttp's own messages may hold."""
    try:
        yield
    except AddressRefusedError as error:
        raise BuildFailedError("source_refused", f"{shown} cannot be used. {error.message}") from None
    except TimeoutError:  # aiohttp's SocketTimeoutError and ConnectionTimeoutError are ones
        raise UnavailableError(f"{shown} stalled: nothing came for {stall_seconds:g} seconds.") from None
    except (aiohttp.ClientError, ConnectionError) as error:
        _raise_named(error, shown)


def _raise_named(error: Exception, shown: str) -> NoReturn:
    if isinstance(error, aiohttp.InvalidURL):
        raise BuildFailedError("source_refused", f"{shown} does not name a host in a usable form.") from None
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        raise BuildFailedError(
            "source_untrusted", f"The certificate of {shown} is not trusted; SHUTTLE_CA_FILE can name its CA."
        ) from None
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        raise UnavailableError(f"The host name in {shown} does not resolve.") from None
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        raise UnavailableError(f"{shown} does not speak TLS as expected.") from None
    if isinstance(error, aiohttp.ClientConnectorError):
        raise UnavailableError(f"{shown} cannot be connected to: {why_unconnected(error)}.") from None
    if isinstance(error, ResponseHeadTooLargeError):
        raise UnavailableError(f"{shown} {what_broke(error)}.") from None
    if isinstance(error, (BrokenBodyError, aiohttp.ClientResponseError)):
        raise UnavailableError(f"{shown} does not answer in valid HTTP.") from None
    if isinstance(error, aiohttp.ClientPayloadError):
        raise UnavailableError(f"{shown} was cut off before its end.") from None
    raise UnavailableError(f"{shown} closed the connection without an answer.") from None


def _shown(url: str) -> str:
    """Scheme, host and path: queries may hold signatures."""
    try:
        parts = urlsplit(without_userinfo(url))
    except ValueError:
        return "The source"
    return f"{parts.scheme}://{parts.netloc}{parts.path}"[:300]
