"""The build queue: quiet period, coalescing, serial jobs, quieting down, and left items kept for five minutes."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from jenkins_emulator.builds import Build, Parameter
from jenkins_emulator.clock import Clock
from jenkins_emulator.durations import span
from jenkins_emulator.files import read_json, write_json, write_text
from jenkins_emulator.jobs import Folder, Job
from jenkins_emulator.sealing import Seal
from jenkins_emulator.waiting import Waiting

# Jenkins forgets an item this many seconds after it left the queue.
LEFT_ITEM_SECONDS = 300.0


@dataclass
class Item:
    """A queue item. `job` is None for a build that waits for an executor (PlaceholderTask); times are Unix seconds."""

    id: int
    job: Job | None
    parameters: tuple[Parameter, ...]
    causes: list[str | None]
    in_queue_since: float
    due_at: float
    waiting: Waiting | None = None
    left_at: float | None = None
    is_cancelled: bool = False
    build: Build | None = None
    held_since: float = 0.0
    timer: asyncio.Task[None] | None = field(default=None, repr=False)


class Queue:
    """The queue, used from the event loop only; `start` makes the build of an item that leaves."""

    def __init__(
        self,
        home: Path,
        clock: Clock,
        seal: Seal,
        start: Callable[[Item], Build],
        *,
        leave_seconds: float,
        start_seconds: float,
    ) -> None:
        """`leave_seconds` is how long an item that may start still waits ("Finished waiting").

        `start_seconds` is the time between leaving the queue and the existence of its build (`executable: null`).
        """
        self._directory = home / "queue"
        self._clock = clock
        self._seal = seal
        self._start = start
        self._leave_seconds = leave_seconds
        self._start_seconds = start_seconds
        self._items: dict[int, Item] = {}
        self._left: dict[int, Item] = {}
        self._next_id = 1
        self._starts: set[asyncio.Task[None]] = set()
        self.is_quieting_down = False

    def schedule(
        self, job: Job, parameters: tuple[Parameter, ...], user: str | None, delay_seconds: float
    ) -> tuple[Item, bool]:
        """A new item and True, or the waiting one of the same job with the same parameters and False."""
        now = self._clock.now()
        for item in self._items.values():
            if item.job is job and item.parameters == parameters:
                item.causes.append(user)
                item.due_at = min(item.due_at, now + delay_seconds)
                self._save(item)
                self._arm(item)
                return item, False
        item = Item(self.new_id(), job, parameters, [user], now, now + delay_seconds)
        self._items[item.id] = item
        self._save(item)
        self._arm(item)
        return item, True

    def wait_for_executor(self, waiting: "Waiting") -> Item:
        """Add the item for a build that waits for an executor."""
        now = self._clock.now()
        item = Item(self.new_id(), None, (), [], now, now, waiting=waiting, held_since=now)
        self._items[item.id] = item
        return item

    def new_id(self) -> int:
        """A number that no item has had, even before a restart."""
        number = self._next_id
        self._next_id += 1
        self._directory.mkdir(parents=True, exist_ok=True)
        write_text(self._directory / "next-id", str(self._next_id))
        return number

    def waiting_items(self) -> Iterator[Item]:
        """The items in Jenkins' order: in their quiet period (by due time), blocked, for an executor (newest first)."""
        now = self._clock.now()
        items = list(self._items.values())
        yield from sorted((item for item in items if item.job and item.due_at > now), key=lambda item: item.due_at)
        yield from (item for item in items if item.job and item.due_at <= now)
        yield from reversed([item for item in items if item.job is None])

    def of_job(self, job: Job) -> Item | None:
        """The oldest item that waits for the job."""
        return next((item for item in self._items.values() if item.job is job), None)

    def kind(self, item: Item) -> str:
        """The item's class in Jenkins, without `Queue$`."""
        if item.left_at is not None:
            return "LeftItem"
        if item.job is None:
            return "BuildableItem"
        return "BlockedItem" if self._held_back(item) else "WaitingItem"

    def _held_back(self, item: Item) -> bool:
        if item.job is None or self.is_quiet(item):
            return False
        busy = item.job.starting > 0 or item.job.running() is not None
        return self.is_quieting_down or (busy and not item.job.definition.concurrent)

    def find(self, number: int) -> Item | None:
        """An item that waits, or that left less than five minutes ago."""
        self._forget()
        return self._items.get(number) or self._left.get(number)

    def is_quiet(self, item: Item) -> bool:
        """Whether the item is in its quiet period."""
        return item.due_at > self._clock.now()

    def why(self, item: Item) -> str | None:
        """Jenkins' text of the reason to wait; None once the item has left."""
        if item.left_at is not None:
            return None
        if item.waiting is not None:
            return item.waiting.why()
        if self.is_quiet(item):
            return f"In the quiet period. Expires in {span(item.due_at - self._clock.now())}"
        if self.is_quieting_down:
            return "Jenkins is about to shut down"
        running = item.job.running() if item.job is not None else None
        if running is None or not self._held_back(item):
            return "Finished waiting"
        estimated = running.job.estimated_seconds()
        left = None if estimated is None else estimated - (self._clock.now() - running.started_at)
        return f"Build #{running.number} is already in progress (ETA: {'N/A' if left is None else span(left)})"

    def cancel(self, item: Item) -> None:
        """Take a waiting item out of the queue."""
        item.is_cancelled = True
        self.leave(item)
        if item.waiting is not None:
            item.waiting.cancel()

    def cancel_job(self, job: Job) -> None:
        """Cancel the items of a deleted job."""
        for item in [item for item in self._items.values() if item.job is job]:
            self.cancel(item)

    def leave(self, item: Item) -> None:
        """Move the item to those that have left."""
        self._items.pop(item.id, None)
        if item.timer is not None:
            item.timer.cancel()
        item.left_at = self._clock.now()
        self._left[item.id] = item
        self._forget()
        if item.is_cancelled or item.build is not None:
            (self._directory / f"{item.id}.json").unlink(missing_ok=True)

    def maintain(self) -> None:
        """Start every item that may start now."""
        for item in list(self._items.values()):
            if item.job is None or self._clock.now() < item.due_at + self._leave_seconds:
                continue
            item.held_since = item.held_since or self._clock.now()
            if self._held_back(item):
                continue
            self.leave(item)
            item.job.starting += 1
            task = asyncio.create_task(self._begin(item, item.job))
            self._starts.add(task)
            task.add_done_callback(self._starts.discard)

    async def _begin(self, item: Item, job: Job) -> None:
        try:
            await self._clock.sleep(self._start_seconds)
            if not job.is_deleted:
                item.build = self._start(item)
            (self._directory / f"{item.id}.json").unlink(missing_ok=True)
        finally:
            job.starting -= 1

    def load(self, top: Folder) -> None:
        """Read the waiting items of an earlier process; those that became builds are dropped."""
        counter = self._directory / "next-id"
        self._next_id = int(counter.read_text()) if counter.exists() else 1
        started = {build.queue_id for job in top.jobs() for build in job.builds.values()}
        for path in self._directory.glob("*.json"):
            number, record = int(path.stem), read_json(path)
            job = top.find(record["job"].split("/"))
            if not isinstance(job, Job) or number in started:
                path.unlink()
                continue
            parameters = tuple(Parameter.from_record(parameter, self._seal) for parameter in record["parameters"])
            item = Item(number, job, parameters, record["causes"], record["in_queue_since"], record["due_at"])
            self._items[number] = item
        self._items = dict(sorted(self._items.items()))
        for item in list(self._items.values()):
            self._arm(item)

    async def close(self) -> None:
        """Stop the timers; the items remain on disk."""
        tasks = [item.timer for item in self._items.values() if item.timer is not None] + list(self._starts)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _arm(self, item: Item) -> None:
        if item.timer is not None:
            item.timer.cancel()
            item.timer = None
        if self._clock.now() < item.due_at + self._leave_seconds:
            item.timer = asyncio.create_task(self._wait_until_due(item))
        else:
            self.maintain()

    async def _wait_until_due(self, item: Item) -> None:
        await self._clock.sleep(item.due_at + self._leave_seconds - self._clock.now())
        item.timer = None
        self.maintain()

    def _forget(self) -> None:
        oldest = self._clock.now() - LEFT_ITEM_SECONDS
        for number, item in list(self._left.items()):
            if item.left_at is None or item.left_at > oldest:
                break  # they are in the order in which they left
            del self._left[number]

    def _save(self, item: Item) -> None:
        if item.job is not None:
            record = {
                "job": item.job.full_name,
                "parameters": [parameter.to_record(self._seal) for parameter in item.parameters],
                "causes": item.causes,
                "in_queue_since": item.in_queue_since,
                "due_at": item.due_at,
            }
            write_json(self._directory / f"{item.id}.json", record)
