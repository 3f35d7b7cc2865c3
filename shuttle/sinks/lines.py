"""A log as lines with the offsets of their first bytes; only LF ends a line."""

import asyncio
from dataclasses import dataclass

from shuttle.logs import LogReader

_BLOCK_BYTES = 64 * 1024
# How much of a line is kept. For SHUTTLE_MAX_LINE_BYTES a CR ends a line, so the output of a progress bar can be one
# line of 2 GiB. A topic takes 1 MiB by default, with the rest of the message.
_MAX_LINE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Lines:
    """Whole lines from `offset` on, at least one. `text` leaves out the LF of the last line.

    `no_newline`: that line has no LF. It is then the last one of the log, and the only one in `text`.
    `dropped_bytes`: how many bytes at the line's end `text` leaves out, too. It is then the only line in `text`.
    """

    offset: int
    text: bytes
    no_newline: bool = False
    dropped_bytes: int = 0

    @property
    def end_offset(self) -> int:
        """Where the next line begins."""
        return self.offset + len(self.text) + self.dropped_bytes + (not self.no_newline)

    @property
    def blocks(self) -> int:
        """How many blocks of 64 KiB `text` occupies: several if it is a longer line."""
        return len(self.text) // _BLOCK_BYTES + 1

    @property
    def longest_bytes(self) -> int:
        """The length of the longest line, without dropped bytes."""
        return max(map(len, self.text.split(b"\n")))


class LineReader:
    """Reads a log by lines, for one task.

    Remembers how far it has looked for the LF of the newest line. A long line is looked at whenever the log grows, and
    at each attempt to send it.
    """

    def __init__(self, log: LogReader) -> None:
        self._log = log
        self._offset = 0
        self._searched_offset = 0

    async def lines_from(self, offset: int) -> Lines | None:
        """Some lines from `offset`, the beginning of a line; None = there is no whole line yet, or the log ends there.

        They are at most one block, or a single longer line, of which 1 MiB is kept.
        """
        if offset != self._offset:
            self._offset = self._searched_offset = offset
        if self._searched_offset < offset + _BLOCK_BYTES:
            block = await _read(self._log, offset, _BLOCK_BYTES)
            end = block.rfind(b"\n")
            if end >= 0:
                return Lines(offset, block[:end])
            self._searched_offset = offset + len(block)
        if await self._found_lf():
            return await self._long_line()
        at_end = self._log.complete and self._searched_offset >= self._log.size_bytes
        if at_end and self._searched_offset > offset:
            return await self._long_line(no_newline=True)
        return None

    async def _found_lf(self) -> bool:
        """Whether the line has an LF. `_searched_offset` is then the LF's offset, where the next call finds it at once.

        Other tasks run after each block: a read of cached bytes waits for nothing.
        """
        while block := await self._log.read(self._searched_offset, _BLOCK_BYTES):
            end = block.find(b"\n")
            if end >= 0:
                self._searched_offset += end
                return True
            self._searched_offset += len(block)
            await asyncio.sleep(0)
        return False

    async def _long_line(self, *, no_newline: bool = False) -> Lines | None:
        line_bytes = self._searched_offset - self._offset
        kept_bytes = min(line_bytes, _MAX_LINE_BYTES)
        text = await _read(self._log, self._offset, kept_bytes)
        if len(text) < kept_bytes:
            return None  # the log has been truncated meanwhile; the same bytes are written again
        return Lines(self._offset, text, no_newline, line_bytes - kept_bytes)


async def line_start(log: LogReader, offset: int) -> int:
    """The offset at which the line of the byte at `offset` begins."""
    end = offset
    while end > 0:
        start = max(end - _BLOCK_BYTES, 0)
        found = (await _read(log, start, end - start)).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
        await asyncio.sleep(0)  # the line may be long, and a read of cached bytes waits for nothing
    return 0


async def _read(log: LogReader, offset: int, wanted_bytes: int) -> bytes:
    """Up to `wanted_bytes`; less only at the log's current end."""
    block = await log.read(offset, wanted_bytes)
    while block and len(block) < wanted_bytes:
        more = await log.read(offset + len(block), wanted_bytes - len(block))
        if not more:
            break
        block += more
    return block
