"""A log as lines with the offsets of their first bytes; only LF ends a line."""

from dataclasses import dataclass

from shuttle.logs import LogReader

_BLOCK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Lines:
    """Whole lines from `offset` on, at least one. `text` leaves out the LF of the last line.

    `no_newline`: that line has no LF. It is then the last one of the log, and the only one in `text`.
    """

    offset: int
    text: bytes
    no_newline: bool = False

    @property
    def end_offset(self) -> int:
        """Where the next line begins."""
        return self.offset + len(self.text) + (not self.no_newline)

    @property
    def longest_bytes(self) -> int:
        """The length of the longest line."""
        return max(map(len, self.text.split(b"\n")))


async def lines_from(log: LogReader, offset: int) -> Lines | None:
    """Some lines from `offset`, the beginning of a line; None = there is no whole line yet, or the log ends there.

    They are at most one block, or a single longer line.
    """
    wanted_bytes = _BLOCK_BYTES
    while True:
        block = await _read(log, offset, wanted_bytes)
        end = block.rfind(b"\n")
        if end >= 0:
            return Lines(offset, block[:end])
        if len(block) == wanted_bytes:
            wanted_bytes *= 2
        elif log.complete and offset + len(block) >= log.size_bytes:
            return Lines(offset, block, no_newline=True) if block else None
        else:
            return None


async def line_start(log: LogReader, offset: int) -> int:
    """The offset at which the line of the byte at `offset` begins."""
    end = offset
    while end > 0:
        start = max(end - _BLOCK_BYTES, 0)
        found = (await _read(log, start, end - start)).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
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
