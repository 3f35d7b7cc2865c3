"""Downloads a source into a file, and resumes at the offset that was reached when the connection broke."""

import asyncio
import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import aiohttp

from shuttle.errors import BuildFailedError, UnavailableError
from shuttle.sources import FetchedSource, SourceLimits
from shuttle.sources.pages import is_page

# The bytes that are hashed and written by one call in a thread: so many that the switch of threads costs little.
_BLOCK_BYTES = 1024 * 1024
_CONTENT_TYPE = re.compile(r"[\x20-\x7e]{1,255}")
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-\d{1,18}/(?:(\d{1,18})|\*)", re.IGNORECASE)
_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e]{0,1024}"')
UNKNOWN_TYPE = "application/octet-stream"


class Download:
    """A source that is received in one or several responses; `size_bytes` of it are in the file.

    It can be resumed if the host sends a strong validator: then the host never sends a part of a changed source
    (If-Range, RFC 9110, 13.1.5).
    """

    def __init__(self, url: str, into: Path) -> None:
        self.url = url
        self._path = into
        self._start()

    def _start(self) -> None:
        self.size_bytes = 0
        self._digest = hashlib.sha256()
        self._validator: str | None = None
        self._total_bytes: int | None = None
        self._content_type = UNKNOWN_TYPE

    @property
    def can_resume(self) -> bool:
        """Whether another request can fetch only the rest."""
        return self.size_bytes > 0 and self._validator is not None and self._is_intact()

    def _is_intact(self) -> bool:
        """Whether the file still has its size: between two fetches the caller may have removed or changed it."""
        try:
            return self._path.stat().st_size == self.size_bytes
        except OSError:
            return False

    def request_headers(self) -> dict[str, str]:
        """The headers that request the rest of the source, or all of it if it has changed."""
        if not self.can_resume or self._validator is None:
            return {}
        return {"Range": f"bytes={self.size_bytes}-", "If-Range": self._validator}

    def discard(self) -> None:
        """Delete what was received. Idempotent."""
        self._path.unlink(missing_ok=True)
        self._start()

    async def receive(
        self, response: aiohttp.ClientResponse, limits: SourceLimits, shown: str, stall_seconds: float
    ) -> FetchedSource:
        """Receive a 200, or the 206 that `request_headers` asked for, to its end.

        Bytes received before an error are kept for the next request. Raises TimeoutError if nothing is received for
        `stall_seconds` after the first byte.
        """
        if response.status == 206:
            self._continue(response.headers, shown)
        else:
            self.discard()
            self._begin(response)
        _check_size(self._total_bytes or 0, limits, shown)
        await self._receive_body(response.content, limits, shown, stall_seconds)
        if self._total_bytes is not None and self.size_bytes < self._total_bytes:
            raise UnavailableError(f"{shown} was cut off before its end.")
        return FetchedSource(self._path, self.size_bytes, self._digest.hexdigest(), self._content_type)

    def _begin(self, response: aiohttp.ClientResponse) -> None:
        content_type = response.headers.get("Content-Type", "")
        self._content_type = content_type if _CONTENT_TYPE.fullmatch(content_type) else UNKNOWN_TYPE
        self._total_bytes = response.content_length
        self._validator = _validator_of(response.headers)

    def _continue(self, headers: Mapping[str, str], shown: str) -> None:
        part = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
        is_same = headers.get("ETag", self._validator) == self._validator or not (self._validator or "").startswith('"')
        if part is None or int(part[1]) != self.size_bytes or not is_same:
            self.discard()
            raise UnavailableError(f"{shown} sent another part of the source than the one requested.")
        self._total_bytes = int(part[2]) if part[2] else self._total_bytes

    async def _receive_body(
        self, content: aiohttp.StreamReader, limits: SourceLimits, shown: str, stall_seconds: float
    ) -> None:
        block = bytearray()
        timeout_seconds: float | None = None  # the caller limits the wait for the first byte
        while True:
            try:
                async with asyncio.timeout(timeout_seconds):
                    chunk = await content.readany()
            except (aiohttp.ClientError, OSError):
                await self._append(block, shown)
                raise
            if not chunk:
                break
            timeout_seconds = stall_seconds
            block += chunk
            _check_size(self.size_bytes + len(block), limits, shown)
            if len(block) >= _BLOCK_BYTES:
                await self._append(block, shown)
                block = bytearray()
        await self._append(block, shown)

    async def _append(self, block: bytearray, shown: str) -> None:
        if not self.size_bytes and is_page(bytes(block[:4096]), self._content_type):
            raise BuildFailedError(
                "source_is_a_page",
                f"{shown} is a web page instead of an archive: give the URL of the archive itself,"
                " and credentials if the host asks for them.",
            )
        await asyncio.to_thread(self._write, block)
        self.size_bytes += len(block)

    def _write(self, block: bytearray) -> None:
        with self._path.open("ab" if self.size_bytes else "wb") as file:
            file.write(block)
        self._digest.update(block)


def _check_size(size_bytes: int, limits: SourceLimits, shown: str) -> None:
    if size_bytes > limits.max_source_bytes:
        raise BuildFailedError(
            "source_too_large", f"{shown} is larger than the {limits.max_source_bytes} bytes that a source may have."
        )


def _validator_of(headers: Mapping[str, str]) -> str | None:
    """A strong validator: a strong ETag, or a Last-Modified that is old enough (RFC 9110, 8.8.2.2)."""
    if headers.get("Accept-Ranges", "").strip().lower() == "none":
        return None
    etag = headers.get("ETag", "").strip()
    if etag:
        return etag if _STRONG_ETAG.fullmatch(etag) else None
    modified, sent = _date_in(headers, "Last-Modified"), _date_in(headers, "Date") or datetime.now(UTC)
    if modified is None or sent - modified < timedelta(seconds=1):
        return None
    return headers["Last-Modified"].strip()


def _date_in(headers: Mapping[str, str], name: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(headers.get(name, ""))
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
