"""Wakes tasks that wait for a change of a build: a claim, a report, a stop, a slot. They read the build's row again."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from weakref import WeakValueDictionary

from shuttle.store import Database, Topic


class Signals:
    """Signals within one process. Every wait also has a timeout, so a lost signal only causes a delay."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self.worker = asyncio.Event()
        # An app was deleted, or a build of a deleted app is over.
        self.deleted = asyncio.Event()
        # A request was answered 503, and it is unknown whether its transaction was committed.
        self.unanswered = asyncio.Event()
        self._job_locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._source_locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._changed: set[str] = set()
        self._to_end: dict[str, None] = {}
        self._any_to_end = asyncio.Event()

    def wake(self, build_uuid: str) -> None:
        """Wake the tasks that wait for this build; they read its row again."""
        for event in self._waiting.get(build_uuid, ()):
            event.set()

    def subscribe_to(self, database: Database) -> None:
        """Wake the waiting tasks when a transaction of `database` changes something."""
        database.subscribe(Topic.BUILD, self.wake)
        database.subscribe(Topic.WORKER, self._wake_worker)
        database.subscribe(Topic.DELETED_APPS, lambda _: self.deleted.set())

    def _wake_worker(self, build_uuid: str) -> None:
        """Wake the worker; `build_uuid` is that of the build that changed, "" if there is none."""
        if build_uuid:
            self._changed.add(build_uuid)
        self.worker.set()

    def take_changed(self) -> set[str]:
        """The builds that changed since the last call."""
        changed, self._changed = self._changed, set()
        return changed

    def end_later(self, build_uuids: Iterable[str]) -> None:
        """Let `AppCleanup` end these builds, whose stop is recorded, in this order."""
        self._to_end.update(dict.fromkeys(build_uuids))
        if self._to_end:
            self._any_to_end.set()

    async def take_to_end(self, limit: int) -> list[str]:
        """Up to `limit` of these builds, once there is one."""
        await self._any_to_end.wait()
        taken = [*islice(self._to_end, limit)]
        for build_uuid in taken:
            del self._to_end[build_uuid]
        if not self._to_end:
            self._any_to_end.clear()
        return taken

    def job_lock(self, job_name: str) -> asyncio.Lock:
        """The lock of a Jenkins job: hold it to prepare and trigger the job, or to remove it."""
        return self._job_locks.setdefault(job_name, asyncio.Lock())

    def source_lock(self, build_uuid: str) -> asyncio.Lock:
        """The lock of a build's local source: hold it to make the file again."""
        return self._source_locks.setdefault(build_uuid, asyncio.Lock())

    def listen(self, build_uuid: str) -> "Listener":
        """A listener for changes of the build from now on; use it in a `with` statement."""
        return Listener(self._waiting, build_uuid)


class Listener:
    """Waits for changes of one build. A change between two waits ends the second one at once."""

    def __init__(self, waiting: defaultdict[str, set[asyncio.Event]], build_uuid: str) -> None:
        self._waiting = waiting
        self._build_uuid = build_uuid
        self._event = asyncio.Event()

    def __enter__(self) -> "Listener":
        self._waiting[self._build_uuid].add(self._event)
        return self

    def __exit__(self, *_: object) -> None:
        events = self._waiting[self._build_uuid]
        events.discard(self._event)
        if not events:
            del self._waiting[self._build_uuid]

    async def wait(self, seconds: float) -> bool:
        """Return at the next change, or after `seconds`; True = there was a change."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
        changed = self._event.is_set()
        self._event.clear()
        return changed
