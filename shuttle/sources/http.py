"""Fetches http:// and https:// sources."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn
from urllib.parse import urljoin, urlsplit

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from shuttle.errors import AddressRefusedError, BuildFailedError, RetryLaterError, UnavailableError
from shuttle.outgoing.faults import describe_connect_error, describe_fault
from shuttle.outgoing.lenient_client import BrokenBodyError, ResponseHeadTooLargeError
from shuttle.outgoing.retry_after import retry_after_seconds
from shuttle.outgoing.urls import as_written
from shuttle.outgoing.userinfo import Credentials, basic_authorization, split_userinfo, without_userinfo
from shuttle.sources import FetchedSource, SourceLimits
from shuttle.sources.download import Download
from shuttle.sources.kinds.http import HttpSource

MAX_REDIRECTS = 10
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# The 4xx statuses that a retry may change (RFC 9110, 15.5.9; RFC 8470; RFC 6585).
_RETRIABLE = frozenset({408, 425, 429})
# Retried if they come with Retry-After: an archive that is still being made, and hosts that limit requests by 403.
_RETRIABLE_WITH_RETRY_AFTER = frozenset({202, 403})
# An interrupted download is resumed at once if its last request brought this much; otherwise after the usual backoff.
_MIN_PROGRESS_BYTES = 64 * 1024

Origin = tuple[str, str | None, int | None]


class HttpFetcher:
    """Fetches http(s) sources with a session of `outgoing_session`, which refuses forbidden addresses.

    Bytes are stored as received, even if the response has a Content-Encoding, as curl does. The request asks for
    `identity`, so a Content-Encoding describes the file that the host has: a `.tar.gz` may come as `application/x-tar`
    with `gzip`. The checksum is that of the file. A response with neither length nor chunks (HTTP/1.0) ends with the
    connection.
    """

    def __init__(
        self, session: aiohttp.ClientSession, *, stall_seconds: float = 30, max_redirects: int = MAX_REDIRECTS
    ) -> None:
        self._session = session
        self._stall_seconds = stall_seconds
        self._max_redirects = max_redirects
        self._interrupted: dict[Path, Download] = {}

    def place(self) -> AbstractAsyncContextManager[object]:
        """See SourceFetcher: there is no limit, because a download has no process of its own."""
        return nullcontext()

    async def fetch(self, source: HttpSource, into: Path, limits: SourceLimits) -> FetchedSource:
        """Stream the source into the file `into`; its headers are sent to the origin of its URL only.

        The wait for the first byte has no limit here; after it, the host may pause for `stall_seconds` at most. An
        interrupted download is resumed, also by the next call for the same file, if the host sent a strong validator.

        Raises:
            BuildFailedError: `source_not_found` (404, 410), `source_refused` (401, 403, a forbidden address),
                `source_untrusted` (its certificate), `source_redirects` (more than MAX_REDIRECTS), `source_too_large`,
                `source_is_a_page`, `source_failed` (any other response that a retry would not change).
            RetryLaterError: 202, 403 or a status of the next line, with a Retry-After.
            UnavailableError: 5xx, 408, 425, 429; the name cannot be resolved; the connection is refused, reset, stalled
                or closed too early.
        """
        download = self._interrupted.pop(into, None)
        if download is None or download.url != source.url or not download.can_resume:
            download = Download(source.url, into)
        while True:
            had_bytes = download.size_bytes
            try:
                return await self._fetch_once(download, limits, source.headers)
            except UnavailableError:
                if not download.can_resume:
                    download.discard()
                    raise
                if download.size_bytes - had_bytes < _MIN_PROGRESS_BYTES:
                    self._keep_for_later(into, download)
                    raise
            except BaseException:
                download.discard()
                raise

    async def _fetch_once(self, download: Download, limits: SourceLimits, headers: Mapping[str, str]) -> FetchedSource:
        shown = _shown(download.url)
        range_headers = download.request_headers()
        with _translate_errors(shown, self._stall_seconds):
            async with self._final_response(download.url, shown, headers, range_headers) as response:
                if range_headers and response.status == 416:
                    download.discard()
                    raise UnavailableError(f"{shown} answers 416: the source has changed.")
                if not (range_headers and response.status == 206):
                    _check_status(response, shown)
                return await download.receive(response, limits, shown, self._stall_seconds)

    def _keep_for_later(self, into: Path, download: Download) -> None:
        """Remember the download for the next call. Forget those whose files the callers have removed."""
        self._interrupted = {path: kept for path, kept in self._interrupted.items() if path.exists()}
        self._interrupted[into] = download

    @asynccontextmanager
    async def _final_response(
        self, url: str, shown: str, headers: Mapping[str, str], range_headers: dict[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Follow redirects; an origin gets only the headers and credentials that were given for it."""
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
                headers=_headers(
                    known.get(_origin(target)), headers if _origin(target) == first else {}, range_headers
                ),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._stall_seconds),
            ) as response:
                if response.status not in _REDIRECTS:
                    yield response
                    return
                url = _redirected(url, response, shown)
        raise BuildFailedError(
            "source_redirects", f"{shown} redirects more than {self._max_redirects} times; give the final address."
        )


def _headers(
    credentials: Credentials | None, given: Mapping[str, str], range_headers: Mapping[str, str]
) -> CIMultiDict[str]:
    headers = CIMultiDict({"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "build-shuttle"})
    if credentials is not None:
        headers["Authorization"] = basic_authorization(credentials)
    headers.update(given)
    headers.update(range_headers)
    return headers


def _redirected(url: str, response: aiohttp.ClientResponse, shown: str) -> str:
    location = response.headers.get("Location", "")
    if not location:
        raise BuildFailedError(
            "source_redirects", f"{shown} answers {response.status} without an address to redirect to."
        )
    try:
        return urljoin(url, location)
    except ValueError:
        raise _unusable(shown) from None


def _target(url: str, shown: str) -> URL:
    try:
        target = as_written(url)
        usable = target.scheme in {"http", "https"} and bool(target.raw_host) and target.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise _unusable(shown)
    return target


def _unusable(shown: str) -> BuildFailedError:
    return BuildFailedError("source_failed", f"{shown} redirects to a URL that is not a valid http or https URL.")


def _origin(url: URL) -> Origin:
    return url.scheme, url.raw_host and url.raw_host.lower(), url.port


def _check_status(response: aiohttp.ClientResponse, shown: str) -> None:
    status = response.status
    if status in {200, 203}:
        return
    after_seconds = retry_after_seconds(response.headers, datetime.now(UTC))
    if after_seconds is not None and (status >= 500 or status in _RETRIABLE | _RETRIABLE_WITH_RETRY_AFTER):
        raise RetryLaterError(f"{shown} answers {status} with Retry-After.", after_seconds=after_seconds)
    if status >= 500 or status in _RETRIABLE:
        raise UnavailableError(f"{shown} answers {status}.")
    if status in {404, 410}:
        raise BuildFailedError("source_not_found", f"{shown} answers {status}: there is no such source.")
    if status in {401, 403}:
        raise BuildFailedError(
            "source_refused",
            f"{shown} answers {status}: give valid credentials, in source.headers or like https://user:password@host/.",
        )
    raise BuildFailedError("source_failed", f"{shown} answers {status} instead of the source.")


@contextmanager
def _translate_errors(shown: str, stall_seconds: float) -> Iterator[None]:
    """Turn network errors into errors of the service, without the query and credentials in aiohttp's messages."""
    try:
        yield
    except AddressRefusedError as error:
        raise BuildFailedError("source_refused", f"{shown} cannot be used. {error.message}") from None
    except TimeoutError:  # includes aiohttp's SocketTimeoutError and ConnectionTimeoutError
        raise UnavailableError(f"{shown} stalled: nothing was received for {stall_seconds:g} seconds.") from None
    except (aiohttp.ClientError, ConnectionError) as error:
        _raise_translated(error, shown)


def _raise_translated(error: Exception, shown: str) -> NoReturn:
    if isinstance(error, aiohttp.InvalidURL):
        raise BuildFailedError("source_refused", f"{shown} does not name a host in a usable form.") from None
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        raise BuildFailedError(
            "source_untrusted", f"The certificate of {shown} is not trusted; SHUTTLE_CA_FILE can name its CA."
        ) from None
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        raise UnavailableError(f"The host name in {shown} does not resolve.") from None
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        raise UnavailableError(f"{shown} failed the TLS handshake.") from None
    if isinstance(error, aiohttp.ClientConnectorError):
        raise UnavailableError(f"{shown} cannot be reached: {describe_connect_error(error)}.") from None
    if isinstance(error, ResponseHeadTooLargeError):
        raise UnavailableError(f"{shown} {describe_fault(error)}.") from None
    if isinstance(error, (BrokenBodyError, aiohttp.ClientResponseError)):
        raise UnavailableError(f"{shown} does not answer in valid HTTP.") from None
    if isinstance(error, aiohttp.ClientPayloadError):
        raise UnavailableError(f"{shown} was cut off before its end.") from None
    raise UnavailableError(f"{shown} closed the connection without an answer.") from None


def _shown(url: str) -> str:
    """Scheme, host and path, for display; the query may hold signatures."""
    try:
        parts = urlsplit(without_userinfo(url))
    except ValueError:
        return "The source"
    return f"{parts.scheme}://{parts.netloc}{parts.path}"[:300]
