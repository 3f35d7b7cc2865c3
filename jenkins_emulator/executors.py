"""Executors and workspaces of the only node: the builds that use them, and those that wait in the queue."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

from jenkins_emulator.builds import Build
from jenkins_emulator.clock import Clock
from jenkins_emulator.generations import Generation
from jenkins_emulator.queue import Item, Queue
from jenkins_emulator.recorder import Recorder
from jenkins_emulator.scopes import InterruptedStepError, Scope
from jenkins_emulator.waiting import Waiting

# After this many seconds ExecutorStepExecution logs that it still waits.
_STILL_WAITING_SECONDS = 15.0


class Executors:
    """The executors. `slots[i]` is the build on executor i; a resumed build gets its slot even above the count."""

    def __init__(
        self, count: int, labels: Iterable[str], home: Path, queue: Queue, clock: Clock, *, generation: Generation
    ) -> None:
        """`labels` are valid in `agent { label '…' }` besides the node's name."""
        self.count = count
        self.slots: list[Build | None] = [None] * count
        self._labels = frozenset(labels) | {generation.node_name}
        self._busy_node = generation.node_display_name if generation.names_busy_node else None
        self._workspaces = home / "workspace"
        self._used: set[Path] = set()
        self._abandoned: dict[int, Path] = {}
        self._queue = queue
        self._clock = clock
        self._waiting: list[Waiting] = []

    async def acquire(self, build: Build, label: str | None, scope: Scope, recorder: Recorder) -> tuple[int, Path]:
        """An executor and a workspace for the build; it waits in the queue until an executor is free."""
        known = label is None or label in self._labels
        waiting = Waiting(build, label, node=self._busy_node, is_stuck=not known)
        item = self._queue.wait_for_executor(waiting)
        try:
            if known and None in self.slots[: self.count]:
                slot = self.slots.index(None)
                self.slots[slot] = build
            else:
                slot = await self._wait(waiting, item, scope, recorder)
            item.build = build
        finally:
            if item.left_at is None:
                self._queue.leave(item)
        workspace = self._free_workspace(build)
        self._used.add(workspace)
        return slot, workspace

    def reclaim(self, build: Build, workspace: Path) -> int:
        """Return its executor to a build that was running when the server ended."""
        if None not in self.slots:
            self.slots.append(None)
        slot = self.slots.index(None)
        self.slots[slot] = build
        self._used.add(workspace)
        return slot

    def release(self, slot: int, workspace: Path) -> None:
        """Release both, and start the next waiting build."""
        self._used.discard(workspace)
        self._free(slot)

    def abandon(self, slot: int, workspace: Path) -> None:
        """The build ends without releasing them: they remain occupied until `free_abandoned`."""
        self._abandoned[slot] = workspace

    def free_abandoned(self, slot: int) -> None:
        """Release an executor that a killed build still occupies; does nothing for other executors."""
        workspace = self._abandoned.pop(slot, None)
        if workspace is not None:
            self.release(slot, workspace)

    def _free(self, slot: int) -> None:
        self.slots[slot] = None
        for waiting in self._waiting:
            if not waiting.is_stuck and not waiting.granted.done() and slot < self.count:
                # Occupied at once: the waiting build continues only in the loop's next iteration.
                self.slots[slot] = waiting.build
                waiting.granted.set_result(slot)
                return

    async def _wait(self, waiting: Waiting, item: Item, scope: Scope, recorder: Recorder) -> int:
        self._waiting.append(waiting)
        notice = asyncio.create_task(self._say_still_waiting(item, recorder))
        try:
            with scope.waiting(waiting.interrupt):
                slot = await waiting.granted
        except asyncio.CancelledError:
            if waiting.granted.done() and not waiting.granted.cancelled():
                self._free(waiting.granted.result())
            raise
        finally:
            notice.cancel()
            self._waiting.remove(waiting)
        if waiting.interruption is not None:
            self._free(slot)
            raise InterruptedStepError(waiting.interruption.kind)
        return slot

    async def _say_still_waiting(self, item: Item, recorder: Recorder) -> None:
        await self._clock.sleep(_STILL_WAITING_SECONDS)
        recorder.line("still-waiting", "Still waiting to schedule task")
        recorder.line("still-waiting:why", self._queue.why(item) or "")

    def _free_workspace(self, build: Build) -> Path:
        base = self._workspaces / build.job.full_name
        workspace, number = base, 1
        while workspace in self._used:
            number += 1
            workspace = base.with_name(f"{base.name}@{number}")
        return workspace
