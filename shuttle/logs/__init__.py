"""The log of a build as one offset-addressed byte string: preamble, the build's output transformed, the reason line."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class LogRules:
    """Fixed when the build is accepted, so that the log is a pure function of the streams' raw bytes and their order.

    `secrets` are raw values; those under 6 bytes are ignored by the masker. Sizes in bytes.
    """

    secrets: tuple[str, ...] = ()
    max_line_bytes: int = 256 * 1024
    max_log_bytes: int = 2 * 1024 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a log by one stream: `text_bytes` of the stream's text stand here before the next segment's.

    The stream's raw bytes from `raw_start` to `raw_stop` arrived during it; `raw_digest` is over these
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
    """A log that may still grow, read by offset; sinks and HTTP readers each hold their own offset.

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
