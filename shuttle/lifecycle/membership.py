"""Membership of the replicas: raises this one's counter, removes dead replicas, and takes apps that nobody owns.

A replica is alive as long as its counter in the database grows. The others measure with their own monotonic clocks how
long it has not grown, so wall clocks have no influence. After an outage of the database all replicas get a new lease.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

import structlog

from shuttle import metrics
from shuttle.errors import StoreError, UnavailableError
from shuttle.lease import Lease
from shuttle.lifecycle.owned_apps import OwnedApps
from shuttle.reachability import Reachability
from shuttle.store import Database, Topic
from shuttle.store.fence import Ownership
from shuttle.store.ownership import leave_replicas, orphaned_apps, owned_apps, release_apps, take_apps
from shuttle.store.replicas import Replica, raise_counter, remove_replica

log = structlog.get_logger()

# The pause before another look for apps that the other replicas left over.
_SHARE_SECONDS = 0.5
_STORE_PAUSE_SECONDS = 1.0
_SHORTEST_SECONDS = 0.05
# How many apps are taken by one transaction.
_AT_ONCE = 500


class Membership:
    """Decides which apps this process owns. With SQLite it takes all apps with open work when it starts.

    Its methods take two functions. `begin` begins the open work of the owned apps, and is called after apps were taken,
    and regularly. `drop` ends the work for an app.
    """

    def __init__(
        self,
        database: Database,
        mine: Replica,
        owned: OwnedApps,
        lease: Lease,
        *,
        heartbeat_seconds: float,
        lease_seconds: float,
        release_seconds: float,
        on_look: Callable[[Sequence[Replica]], None],
        reachability: Callable[[], Reachability],
    ) -> None:
        """`on_look` gets all replicas that are considered alive, after each look and when one has died.

        `reachability` returns what this process can reach. After `release_seconds` without Jenkins and the object store
        it releases its apps, if another replica can reach both.
        """
        self._database = database
        self._mine = mine
        self._owned = owned
        self._lease = lease
        self._heartbeat_seconds = heartbeat_seconds
        self._lease_seconds = lease_seconds
        self._release_seconds = release_seconds
        self._on_look = on_look
        self._reachability = reachability
        self._is_released = False
        self._taken_unknown = False
        self._clock = asyncio.get_running_loop().time
        # The other replicas, and since when their counters have had these values.
        self._seen: dict[str, tuple[Replica, float]] = {}
        # When this process last raised its counter.
        self._raised_at = -math.inf
        # The same, but -inf after a try that failed.
        self._looked_at = -math.inf
        self._released = asyncio.Event()
        database.subscribe(Topic.RELEASED, lambda _: self._released.set())

    @property
    def replicas(self) -> Sequence[Replica]:
        """All replicas that are considered alive, this one included."""
        return [self._mine, *(replica for replica, _ in self._seen.values())]

    def reachabilities(self) -> Sequence[Reachability]:
        """What each replica can reach, this one first; for the others as they last recorded it."""
        others = (Reachability.of_text(replica.reach) for replica, _ in self._seen.values())
        return [self._reachability(), *others]

    def ages(self) -> Sequence[tuple[Replica, float]]:
        """All replicas that are considered alive, this one first, with the seconds since their counter was raised.

        For another replica, the seconds since this one saw the counter grow.
        """
        now = self._clock()
        mine = (self._mine, 0.0 if self._database.alone else now - self._raised_at)
        return [mine, *((replica, now - since) for replica, since in self._seen.values())]

    async def join(self) -> None:
        """Join the replicas and take the apps that nobody owns. Raises StoreError."""
        if not self._database.alone:
            await self._raise_counter()
        await self._take_orphans()

    async def run(self, begin: Callable[[], Awaitable[None]], drop: Callable[[str], None]) -> None:
        """Raise the counter regularly, and take over the apps of dead replicas; run until cancelled."""
        if not self._database.alone:
            await asyncio.gather(self._live(drop), self._take_over(begin))

    async def _live(self, drop: Callable[[str], None]) -> None:
        while True:
            await asyncio.sleep(max(self._looked_at + self._heartbeat_seconds - self._clock(), _SHORTEST_SECONDS))
            try:
                await self.look(drop)
            except StoreError as error:
                log.warning("this replica cannot renew its lease", error=error.message)
                await asyncio.sleep(_STORE_PAUSE_SECONDS)
            except Exception:  # a bug must not end the loop: without it this replica sends nothing
                log.exception("this replica failed to renew its lease")
                await asyncio.sleep(_STORE_PAUSE_SECONDS)

    async def _take_over(self, begin: Callable[[], Awaitable[None]]) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._seconds_to_next_death()):
                    await self._released.wait()
            self._released.clear()
            try:
                await self.take_over(begin)
                await begin()
            except UnavailableError as error:
                log.warning("the search for open work failed and will be repeated", error=error.message)
                await asyncio.sleep(_STORE_PAUSE_SECONDS)
            except Exception:  # a bug must not end the loop: without it nobody takes over
                log.exception("the search for open work failed unexpectedly")
                await asyncio.sleep(_STORE_PAUSE_SECONDS)

    async def look(self, drop: Callable[[str], None]) -> None:
        """Raise the counter, and read those of the others. Raises StoreError."""
        try:
            await self._raise_counter(drop)
        except StoreError:
            self._looked_at = -math.inf  # others may have failed as well, so they get a new lease
            raise
        await self._release_if_cut_off(drop)

    async def take_over(self, begin: Callable[[], Awaitable[None]] | None = None) -> None:
        """Remove dead replicas, and take the apps that nobody owns. Raises StoreError.

        `begin` is called after this replica has taken its share, before it takes what the others have left over. Does
        nothing if the newest look is outdated: this process or the database was away.
        """
        if self._clock() - self._looked_at <= 2 * self._heartbeat_seconds:
            await self._remove_dead()
            await self._take_orphans(begin)

    async def leave(self) -> None:
        """Release all apps, so that the other replicas take them at once."""
        if not self._database.alone:
            self._database.takes_apps = False
            self._owned.clear()
            try:
                await self._database.run(leave_replicas)
            except StoreError as error:
                log.warning("the apps could not be released; others take them later", error=error.message)

    async def _release_if_cut_off(self, drop: Callable[[str], None]) -> None:
        """Release all apps while this process is cut off from Jenkins and the object store, if another reaches both."""
        mine, *others = self.reachabilities()
        cut_off = self._is_released or mine.is_cut_off(self._release_seconds)
        releases = cut_off and not mine.can_run_builds and any(other.can_run_builds for other in others)
        self._database.takes_apps = not releases
        # After the release this process may still get apps: a transaction that takes some may be under way.
        if releases and (not self._is_released or len(self._owned)):
            log.warning("this replica cannot run builds and another one can; it releases its apps")
            for app_id in self._owned.clear():
                drop(app_id)
            await self._database.run(release_apps)
        elif self._is_released and not releases:
            log.info("this replica takes apps again")
        self._is_released = releases

    def _seconds_to_next_death(self) -> float:
        """The seconds until the lease of another replica ends, at most the time between two heartbeats."""
        ends = [since + self._lease_seconds - self._clock() for _, since in self._seen.values()]
        return max(min([self._heartbeat_seconds, *ends]), _SHORTEST_SECONDS)

    async def _raise_counter(self, drop: Callable[[str], None] | None = None) -> None:
        began_at = self._lease.now()
        replicas = await self._database.run(raise_counter, replace(self._mine, reach=self._reachability().text()))
        # Checked after the answer, because this process may have been suspended while it waited.
        if drop is not None and not self._lease.is_held:
            # Other replicas may have taken apps meanwhile: drop these apps before the lease allows sending again.
            for app_id in self._owned.lost(await self._database.run(owned_apps)):
                log.warning("another replica has taken over an app", app_id=app_id)
                drop(app_id)
        self._lease.renew(began_at)
        self._note([replica for replica in replicas if replica.instance != self._mine.instance])

    def _note(self, others: Sequence[Replica]) -> None:
        now = self._clock()
        # After a pause of this process, or an outage of the database, all other replicas get a new lease.
        gap = now - self._looked_at > 2 * self._heartbeat_seconds
        self._looked_at = self._raised_at = now
        seen, self._seen = self._seen, {}
        for replica in others:
            before, since = seen.get(replica.instance, (None, now))
            unchanged = before is not None and before.counter == replica.counter and not gap
            self._seen[replica.instance] = replica, since if unchanged else now
        self._database.notifies = bool(self._seen)
        self._on_look(self.replicas)

    async def _remove_dead(self) -> None:
        now = self._clock()
        for replica, since in [*self._seen.values()]:
            if now - since >= self._lease_seconds and await self._database.run(remove_replica, replica):
                log.warning("a replica is considered dead", name=replica.name, instance=replica.instance)
                self._seen.pop(replica.instance, None)
                self._on_look(self.replicas)

    async def _take_orphans(self, begin: Callable[[], Awaitable[None]] | None = None) -> None:
        """Take this replica's share of the apps that nobody owns, then what the others have left over."""
        if self._taken_unknown:
            await self._note_taken()
        for others_left in (len(self._seen), 0):
            if not self._database.takes_apps:
                return
            orphans = await self._database.run(orphaned_apps)
            if not orphans:
                return
            await self._take(_share(orphans, others_left + 1, self._mine.instance))
            if others_left and begin is not None:
                await begin()
            if others_left:
                await asyncio.sleep(_SHARE_SECONDS)

    async def _take(self, app_ids: Sequence[str]) -> None:
        for first in range(0, len(app_ids), _AT_ONCE):
            self._taken_unknown = True
            taken: Sequence[Ownership] = await self._database.run(take_apps, app_ids[first : first + _AT_ONCE])
            self._taken_unknown = False
            for owned in taken:
                self._owned.add(owned)
            metrics.TAKEN_APPS.inc(len(taken))
            if not self._database.alone and taken:
                log.info("took over apps", count=len(taken))

    async def _note_taken(self) -> None:
        """Read which apps are owned: a transaction that took some may have been committed, but the answer was lost."""
        for app_id, epoch in (await self._database.run(owned_apps)).items():
            self._owned.add(Ownership(app_id, epoch))
        self._taken_unknown = False


def _share(orphans: Mapping[str, int], parts: int, instance: str) -> Sequence[str]:
    """Apps with about 1/`parts` of the work; the first one differs between instances, so that they rarely collide."""
    app_ids = sorted(orphans)
    first = int(instance[:8], 16) % len(app_ids)
    wanted = math.ceil(sum(orphans.values()) / parts)
    share = list[str]()
    for app_id in app_ids[first:] + app_ids[:first]:
        if wanted <= 0:
            break
        share.append(app_id)
        wanted -= orphans[app_id]
    return share
