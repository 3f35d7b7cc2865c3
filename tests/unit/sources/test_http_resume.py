"""Interrupted downloads: which responses resume them, and which restart them because the source may have changed."""

import asyncio
import hashlib
import re

import pytest

from shuttle.errors import UnavailableError

CONTENT = b"".join(b"%099d\n" % number for number in range(25_000))  # 2.5 MB
HALF = 400_000
LONG_AGO, TODAY = "Mon, 01 Jan 2029 00:00:00 GMT", "Tue, 01 Jan 2030 00:00:00 GMT"


class CuttingHost:
    """Closes the first `cuts` connections after `cut_bytes` of the response; then sends complete responses."""

    def __init__(self, **headers: str) -> None:
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.cuts = 1
        self.cut_bytes = HALF
        self.ranges: list[str | None] = []
        self.conditions: list[str | None] = []
        self.has_changed = False
        self.takes_ranges = True
        self.shift = 0
        self.status_of_a_range = 206

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        asked = re.search(r"(?i)^range: bytes=(\d+)-\r$", head, re.MULTILINE)
        condition = re.search(r"(?i)^if-range: (.*)\r$", head, re.MULTILINE)
        self.ranges.append(asked and asked[1])
        self.conditions.append(condition and condition[1])
        at, content = int(asked[1]) if asked else 0, CONTENT
        lines = dict(self.headers)
        if self.has_changed:
            content, lines["ETag"] = CONTENT[::-1], '"another"'
        status = 200
        if asked and self.takes_ranges and not self.has_changed:
            status, content = self.status_of_a_range, content[at:]
            lines["Content-Range"] = f"bytes {at + self.shift}-{len(CONTENT) - 1}/{len(CONTENT)}"
        lines["Content-Length"] = str(len(content))
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        is_cut = len(self.ranges) <= self.cuts
        writer.write(f"HTTP/1.1 {status} X\r\n{text}\r\n".encode() + content[: self.cut_bytes if is_cut else None])
        await writer.drain()
        writer.close()


async def fetched(fetch, host, serve=None):
    async with await asyncio.start_server(serve or host.serve, "127.0.0.1", 0) as server:
        source, content = await fetch(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/a")
    assert (source.size_bytes, source.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    return content


async def test_interrupted_download_resumes_at_its_offset(fetch):
    host = CuttingHost(ETag='"v1"', Accept_Ranges="bytes")
    host.cuts = 3
    assert await fetched(fetch, host) == CONTENT
    assert host.ranges[0] is None
    offsets = [int(at or 0) for at in host.ranges]
    assert 0 < offsets[1] <= HALF < offsets[3]
    assert host.conditions == [None, '"v1"', '"v1"', '"v1"']


async def test_old_last_modified_is_used_as_validator(fetch):
    host = CuttingHost(Last_Modified=LONG_AGO, Date=TODAY)
    assert await fetched(fetch, host) == CONTENT
    assert host.conditions[1] == LONG_AGO


async def test_changed_source_is_downloaded_from_the_beginning(fetch):
    host = CuttingHost(ETag='"v1"')

    async def changes(reader, writer):
        host.has_changed = bool(host.ranges)
        await host.serve(reader, writer)

    assert await fetched(fetch, host, changes) == CONTENT[::-1]


async def test_host_without_ranges_restarts_the_download(fetch):
    host = CuttingHost(ETag='"v1"')
    host.takes_ranges = False
    assert await fetched(fetch, host) == CONTENT


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"ETag": 'W/"weak"'},
        {"ETag": '"v1"', "Accept_Ranges": "none"},
        {"Last_Modified": TODAY, "Date": TODAY},
        {"Last_Modified": "once"},
    ],
)
async def test_download_without_a_strong_validator_is_not_resumed(fetch, tmp_path, headers):
    host = CuttingHost(**headers)
    with pytest.raises(UnavailableError, match="cut off"):
        await fetched(fetch, host)
    assert host.ranges == [None]
    assert not (tmp_path / "source").exists()


@pytest.mark.parametrize(("shift", "status"), [(1, 206), (0, 416)])
async def test_part_that_was_not_requested_is_discarded(fetch, tmp_path, shift, status):
    host = CuttingHost(ETag='"v1"')
    host.shift, host.status_of_a_range = shift, status
    with pytest.raises(UnavailableError):
        await fetched(fetch, host)
    assert not (tmp_path / "source").exists()


async def test_next_fetch_resumes_a_download_with_little_progress(fetch):
    host = CuttingHost(ETag='"v1"')
    host.cut_bytes = 1000
    async with await asyncio.start_server(host.serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/a"
        with pytest.raises(UnavailableError, match="cut off"):
            await fetch(url)
        assert (await fetch(url))[1] == CONTENT
    assert host.ranges == [None, "1000"]


async def test_download_restarts_if_its_file_was_removed(fetch, tmp_path):
    host = CuttingHost(ETag='"v1"')
    host.cut_bytes = 1000
    async with await asyncio.start_server(host.serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/a"
        with pytest.raises(UnavailableError):
            await fetch(url)
        (tmp_path / "source").unlink()
        assert (await fetch(url))[1] == CONTENT
    assert host.ranges == [None, None]
