"""The log of a build as one offset-addressed byte string: preamble, Jenkins' text transformed, the reason line."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class LogRules:
    """What is frozen at acceptance and makes the transformation a pure function of Jenkins' raw bytes.

    `secrets` are raw values; those under 6 bytes are ignored by the masker. Sizes in bytes.
    """

    secrets: tuple[str, ...] = ()
    keep_engine_lines: bool = False
    max_line_bytes: int = 256 * 1024
    max_log_bytes: int = 2 * 1024 * 1024 * 1024


class LogReader(Protocol):
    """A log that may still grow, read by offset; sinks and HTTP readers each hold their own offset.

    Safe for any number of readers of one loop; the bytes at an offset never change.
    """

    @property
    def size_bytes(self) -> int:
        """How much there is now."""

    @property
    def complete(self) -> bool:
        """Nothing will be added any more."""

    async def read(self, offset: int, limit_bytes: int) -> bytes:
        """Up to `limit_bytes` from `offset`; b"" at or beyond the present end."""

    async def grown_beyond(self, offset: int) -> None:
        """Return as soon as `size_bytes > offset` or the log is complete."""
