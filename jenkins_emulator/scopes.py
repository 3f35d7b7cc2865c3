"""Interrupting what runs now: `stop` reaches every waiting step of a build, `timeout` those inside its block."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """A step is asked to end (stop, timeout), ended without its processes (term), or loses its agent (lost)."""

    STOP = "stop"
    TIMEOUT = "timeout"
    TERM = "term"
    LOST = "lost"


@dataclass(frozen=True)
class Interruption:
    """One interruption; `key` is the same after a restart, so that it is not carried out again once a step took it."""

    kind: Kind
    key: str = "stop"


Handler = Callable[[Interruption], None]


class Scope:
    """A block of steps; the steps that wait in it register how to interrupt them."""

    def __init__(self, parent: "Scope | None" = None) -> None:
        """Without `parent`: the whole build."""
        self._parent = parent
        self._waiting: list[Handler] = []
        self._pending: Interruption | None = None

    def interrupt(self, interruption: Interruption) -> None:
        """Interrupt every step that waits in this block now, or the next one that begins to."""
        if not self._waiting:
            self._pending = interruption
        for handler in list(self._waiting):
            handler(interruption)

    @contextmanager
    def waiting(self, handler: Handler) -> Iterator[None]:
        """While the body runs, `handler` is called with each interruption."""
        self.add(handler)
        try:
            yield
        finally:
            self.remove(handler)

    def add(self, handler: Handler) -> None:
        """Register here and in the blocks around; an interruption that found nobody is delivered at once."""
        self._waiting.append(handler)
        if self._parent is not None:
            self._parent.add(handler)
        if self._pending is not None:
            pending, self._pending = self._pending, None
            handler(pending)

    def remove(self, handler: Handler) -> None:
        """The opposite of `add`."""
        self._waiting.remove(handler)
        if self._parent is not None:
            self._parent.remove(handler)


class StepFailedError(Exception):
    """Ends the stage; `result` is what the build becomes, `message` its last line (empty: none)."""

    def __init__(self, message: str, result: str = "FAILURE") -> None:
        super().__init__(message)
        self.message = message
        self.result = result


class InterruptedStepError(StepFailedError):
    """A step that was stopped or ran out of time."""

    def __init__(self, kind: Kind) -> None:
        super().__init__("Timeout has been exceeded" if kind is Kind.TIMEOUT else "", "ABORTED")
