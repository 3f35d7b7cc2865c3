"""Interruption of running steps: `stop` interrupts all waiting steps of a build, `timeout` those in its block."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What happens: the step's processes are ended (stop, timeout), only the step is (term), or its agent is lost."""

    STOP = "stop"
    TIMEOUT = "timeout"
    TERM = "term"
    LOST = "lost"


@dataclass(frozen=True)
class Interruption:
    """One interruption; `key` is the same after a restart, so that it is not repeated once a step has handled it."""

    kind: Kind
    key: str = "stop"


Handler = Callable[[Interruption], None]


class Scope:
    """A block of steps; the steps that wait in it register how to interrupt them."""

    def __init__(self, parent: "Scope | None" = None) -> None:
        """A scope without `parent` is that of the whole build."""
        self._parent = parent
        self._waiting: list[Handler] = []
        self._pending: Interruption | None = None

    def interrupt(self, interruption: Interruption) -> None:
        """Interrupt every step that waits in this block, or if there is none, the next one."""
        if not self._waiting:
            self._pending = interruption
        for handler in list(self._waiting):
            handler(interruption)

    @contextmanager
    def waiting(self, handler: Handler) -> Iterator[None]:
        """Call `handler` with each interruption while the body runs."""
        self.add(handler)
        try:
            yield
        finally:
            self.remove(handler)

    def add(self, handler: Handler) -> None:
        """Register in this and the enclosing blocks; a pending interruption is delivered at once."""
        self._waiting.append(handler)
        if self._parent is not None:
            self._parent.add(handler)
        if self._pending is not None:
            pending, self._pending = self._pending, None
            handler(pending)

    def remove(self, handler: Handler) -> None:
        """Unregister what `add` has registered."""
        self._waiting.remove(handler)
        if self._parent is not None:
            self._parent.remove(handler)


class StepFailedError(Exception):
    """Ends the stage; `result` is the build's result, `message` its last line (none if empty)."""

    def __init__(self, message: str, result: str = "FAILURE") -> None:
        super().__init__(message)
        self.message = message
        self.result = result


class InterruptedStepError(StepFailedError):
    """A step was stopped or exceeded its time limit."""

    def __init__(self, kind: Kind) -> None:
        super().__init__("Timeout has been exceeded" if kind is Kind.TIMEOUT else "", "ABORTED")
