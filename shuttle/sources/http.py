"""http:// and https:// sources: stream the bytes of a stranger's server into a file."""

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
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
from shuttle.outgoing.userinfo import Credentials, basic_authorization, split_userinfo, without_userinfo
from shuttle.sources import FetchedSource, SourceLimits
from shuttle.sources.download import Download

MAX_REDIRECTS = 10
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# Of the 4xx these say "later" (RFC 9110, 15.5.9; RFC 8470; RFC 6585).
_LATER = frozenset({408, 425, 429})
# With Retry-After: an archive that is being made, and hosts that limit requests by 403.
_LATER_WITH_RETRY_AFTER = frozenset({202, 403})
# Everything that RFC 3986 allows in a URL: such a one is sent as written, since a signature may cover its escapes.
_AS_WRITTEN = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]*")
# An interrupted download resumes at once if this much has arrived; with less it is retried after the usual backoff.
_MIN_PROGRESS_BYTES = 64 * 1024

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
        self._interrupted: dict[Path, Download] = {}

    async def fetch(self, url: str, into: Path, limits: SourceLimits, headers: Mapping[str, str]) -> FetchedSource:
        """Stream `url` into the file `into`; `headers` go to its origin only.

        The first byte may take as long as the caller waits; after it nothing may be silent for `stall_seconds`. What
        broke off is continued, also by the next call for the same file, if the host says what it belongs to.

        Raises:
            BuildFailedError: `source_not_found` (404, 410), `source_refused` (401, 403, a forbidden address),
                `source_redirects` (more than MAX_REDIRECTS), `source_too_large`, `source_is_a_page`, `source_failed`
                (any other answer that will not get better).
            RetryLaterError: 202, 403 and those of the next line, with a Retry-After.
            UnavailableError: 5xx, 408, 425, 429, no name, refused, reset, stalled or cut off.
        """
        download = self._interrupted.pop(into, None)
        if download is None or download.url != url or not download.can_go_on:
            download = Download(url, into)
        while True:
            had_bytes = download.size_bytes
            try:
                return await self._fetch_once(download, limits, headers)
            except UnavailableError:
                if not download.can_go_on:
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
        wanted = download.request_headers()
        with _named_troubles(shown, self._stall_seconds):
            async with self._final_answer(download.url, shown, headers, wanted) as answer:
                if wanted and answer.status == 416:
                    download.discard()
                    raise UnavailableError(f"{shown} answers 416: the source has changed.")
                if not (wanted and answer.status == 206):
                    _check_status(answer, shown)
                return await download.receive(answer, limits, shown, self._stall_seconds)

    def _keep_for_later(self, into: Path, download: Download) -> None:
        """For the next call; downloads that nobody came back for are known by their files, which the caller removed."""
        self._interrupted = {path: kept for path, kept in self._interrupted.items() if path.exists()}
        self._interrupted[into] = download

    @asynccontextmanager
    async def _final_answer(
        self, url: str, shown: str, headers: Mapping[str, str], wanted: dict[str, str]
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
                headers=_headers(known.get(_origin(target)), headers if _origin(target) == first else {}, wanted),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._stall_seconds),
            ) as answer:
                if answer.status not in _REDIRECTS:
                    yield answer
                    return
                url = _redirected(url, answer.headers.get("Location", ""), shown)
        raise BuildFailedError(
            "source_redirects", f"{shown} redirects more than {self._max_redirects} times; give the final address."
        )


def _headers(credentials: Credentials | None, given: Mapping[str, str], wanted: Mapping[str, str]) -> CIMultiDict[str]:
    headers = CIMultiDict({"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "build-shuttle"})
    if credentials is not None:
        headers["Authorization"] = basic_authorization(credentials)
    headers.update(given)
    headers.update(wanted)
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


def _check_status(answer: aiohttp.ClientResponse, shown: str) -> None:
    status = answer.status
    if status in {200, 203}:
        return
    after_seconds = retry_after_seconds(answer.headers, datetime.now(UTC))
    if after_seconds is not None and (status >= 500 or status in _LATER | _LATER_WITH_RETRY_AFTER):
        raise RetryLaterError(f"{shown} answers {status} and asks for patience.", after_seconds=after_seconds)
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
        raise UnavailableError(f"{shown} cannot be connected to: {describe_connect_error(error)}.") from None
    if isinstance(error, ResponseHeadTooLargeError):
        raise UnavailableError(f"{shown} {describe_fault(error)}.") from None
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
