"""A build that waits in the queue for an executor."""

import asyncio

from jenkins_emulator.builds import Build
from jenkins_emulator.scopes import InterruptedStepError, Interruption, Kind


class Waiting:
    """A build that has no executor yet."""

    def __init__(self, build: Build, label: str | None, *, node: str | None, is_stuck: bool) -> None:
        """`label` is that of the pipeline, `node` the busy node to name; `is_stuck`: no node has the label."""
        self.build = build
        self.granted: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.is_stuck = is_stuck
        self.interruption: Interruption | None = None
        self._label = label
        self._node = node

    def why(self) -> str:
        """The reason that the queue shows."""
        if self.is_stuck:
            return f"There are no nodes with the label \u2018{self._label}\u2019"
        on = f" on \u2018{self._node}\u2019" if self._node is not None else ""
        return f"Waiting for next available executor{on}"

    def cancel(self) -> None:
        """Abort the build, because its queue item was cancelled."""
        self.interrupt(Interruption(Kind.STOP))

    def interrupt(self, interruption: Interruption) -> None:
        """Stop waiting; an executor that was granted at the same moment is released."""
        self.interruption = interruption
        if not self.granted.done():
            self.granted.set_exception(InterruptedStepError(interruption.kind))
