"""Notices a client that reads nothing of its response for a while."""

import asyncio
from collections.abc import Callable


class ReaderWatch:
    """Watches one connection; calls `on_stall` if its client has read nothing for `seconds` of what it is sent."""

    def __init__(self, wire: asyncio.Transport, seconds: float, on_stall: Callable[[], None]) -> None:
        self._wire = wire
        self._seconds = seconds
        self._on_stall = on_stall
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._resumed = 0
        self._seen = (0, 0)

    def resume(self) -> None:
        """Note that the client has read enough for the service to write again."""
        self._resumed += 1

    def check_later(self) -> None:
        """Check later whether the client has read any of the buffered bytes."""
        unsent_bytes = self._unsent_bytes
        if self._timer is None and unsent_bytes:
            self._seen = (self._resumed, unsent_bytes)
            self._timer = self._loop.call_later(self._seconds, self._check)

    def end(self) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def _unsent_bytes(self) -> int:
        """The bytes that wait for the client to read."""
        try:
            return self._wire.get_write_buffer_size()
        except AttributeError:  # a TLS transport of CPython 3.11 that was closed twice has no buffer any more
            return 0

    def _check(self) -> None:
        self._timer = None
        if self._seen == (self._resumed, self._unsent_bytes):
            self._on_stall()
        else:
            self.check_later()
