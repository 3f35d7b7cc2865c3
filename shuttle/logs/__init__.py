"""The log of a build as one string of bytes with offsets: preamble, the build's transformed output, the reason line."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class LogRules:
    """The rules of a log's transformation, fixed at acceptance: the log is a pure function of the streams' raw bytes
    and their order.

    `secrets` are raw values; the masker ignores those under 6 bytes.
    """

    secrets: tuple[str, ...] = ()
    max_line_bytes: int = 256 * 1024
    max_log_bytes: int = 2 * 1024 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a log that comes from one stream: `text_bytes` of its text, followed by the next segment.

    The raw bytes of the stream from `raw_start` to `raw_stop` arrived during this segment; `raw_digest` is their digest
    (see `RawDigest`).
    """

    position: int
    claim_id: int
    stream: str
    raw_start: int
    raw_stop: int
    raw_digest: str
    text_bytes: int


class LogReader(Protocol):
    """Reads a log, which may still grow, by offset. Sinks and HTTP readers have offsets of their own.

    Safe for any number of readers of one loop; the bytes at an offset never change.
    """

    @property
    def size_bytes(self) -> int:
        """How many bytes readers can read now."""

    @property
    def complete(self) -> bool:
        """Whether the log has its last byte."""

    async def read(self, offset: int, limit_bytes: int) -> bytes:
        """Up to `limit_bytes` from `offset`; b"" at or beyond `size_bytes`."""

    async def grown_beyond(self, offset: int) -> None:
        """Return as soon as `size_bytes > offset` or the log is complete."""
