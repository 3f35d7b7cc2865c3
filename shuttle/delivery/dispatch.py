"""The dispatcher: starts due deliveries, one attempt at a time per receiver of a build, and sleeps until the next."""

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

import structlog

from shuttle.clock import Clock
from shuttle.delivery import Attempt, DueDelivery, LeaseMissingError, Outbox, StatusSender
from shuttle.delivery.deliver import StatusDelivery
from shuttle.errors import NotOwnerError, UnavailableError
from shuttle.lease import Lease
from shuttle.outgoing.endpoints import EndpointKind
from shuttle.settings import Settings

# The limit of connections to a host. Attempts that have waited for a second count separately (MAX_SLOW_PER_HOST), so
# that a hook that hangs does not delay others of its host. A host whose hooks all hang uses 20 + 80 connections, each
# for 15 s; 400 are left for the other hosts.
MAX_PER_HOST = 20
MAX_SLOW_PER_HOST = 80
SLOW_AFTER_SECONDS = 1.0
MAX_AT_ONCE = 500
# A query of the outbox takes 5 ms and more when thousands wait; one query supplies this many attempts.
_MAX_FETCHED = 100
# After this time a queued delivery is read again instead of started: another replica may have sent it, or the notice
# that it was cancelled was lost. So a slow host costs one query a second.
_QUEUED_SECONDS = 1.0
# Most receivers answer within this time; unanswered attempts are made again after the restart.
_MAX_GRACE_SECONDS = 2.0
_STORE_PAUSE_SECONDS = 1.0
_FAULT_PAUSE_SECONDS = 30.0

_log = structlog.get_logger()


class Dispatcher:
    """Delivers the events in the outbox. Call `run` once, and `wake` after each transaction that wrote an event.

    All state is in the outbox: after a crash an interrupted attempt is made again, with the same webhook-id. `senders`
    has one for each kind; that of `http` must allow MAX_AT_ONCE connections. `sleep` waits for some seconds.
    """

    def __init__(
        self,
        outbox: Outbox,
        senders: Mapping[EndpointKind, StatusSender],
        settings: Settings,
        clock: Clock,
        lease: Lease,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._outbox = outbox
        self._delivery = StatusDelivery(
            senders=senders, schedule_seconds=settings.shuttle_webhook_schedule_seconds, clock=clock
        )
        self._clock = clock
        self._lease = lease
        self._sleep = sleep
        self._grace_seconds = min(settings.shuttle_shutdown_seconds / 4, _MAX_GRACE_SECONDS)
        self._woken = asyncio.Event()
        self._running: dict[int, tuple[DueDelivery, asyncio.Task[None]]] = {}
        self._per_host: Counter[str] = Counter()
        self._slow: defaultdict[str, set[int]] = defaultdict(set)
        # Fetched deliveries whose host is full, each with the time of the query (on the lease's clock). The outbox is
        # not queried for such a host until its queue is empty or outdated.
        self._queued: defaultdict[str, deque[tuple[float, DueDelivery]]] = defaultdict(deque)
        self._forgotten = 0

    def wake(self, build_uuid: str = "") -> None:
        """Report that a delivery may be due: after a new event, a replay, or the end of an attempt.

        With a `build_uuid`, deliveries of this build were cancelled: what is queued is read again.
        """
        if build_uuid:
            self._forget()
        self._woken.set()

    def drop(self, app_id: str) -> None:
        """Send nothing more for an app that another replica has taken, or that this one releases."""
        self._forget()
        for delivery, task in self._running.values():
            if delivery.app_id == app_id:
                task.cancel()

    async def run(self) -> None:
        """Deliver until cancelled; running attempts then get a short grace, and those that do not end are due again."""
        try:
            while True:
                self._woken.clear()
                try:
                    await self._start_due_deliveries()
                    await self._wait_until_due()
                except UnavailableError as error:
                    _log.warning("deliveries wait for the database", error=error.message)
                    await self._sleep(_STORE_PAUSE_SECONDS)
                except Exception:  # noqa: BLE001 - logged; without the dispatcher no status would be sent
                    _log.exception("the dispatcher failed unexpectedly")
                    await self._sleep(_FAULT_PAUSE_SECONDS)
        finally:
            self._queued.clear()
            await self._finish_running()

    async def _start_due_deliveries(self) -> None:
        while (limit := min(MAX_AT_ONCE - len(self._running), _MAX_FETCHED)) > 0:
            read_at, forgotten = self._lease.now(), self._forgotten
            due = await self._outbox.due_deliveries(
                now=self._clock.steady(), limit=limit, busy=frozenset(self._running), full_hosts=self._full_hosts
            )
            if forgotten != self._forgotten:
                continue  # `_forget` was called during the query, whose answer may be outdated
            for delivery in due:
                if self._per_host[delivery.host] < MAX_PER_HOST:
                    self._start(delivery)
                else:
                    self._queued[delivery.host].append((read_at, delivery))
            if len(due) < limit:
                return

    def _start(self, delivery: DueDelivery) -> None:
        self._per_host[delivery.host] += 1
        task = asyncio.create_task(self._attempt(delivery))
        self._running[delivery.receiver_id] = delivery, task
        # Not in a `finally` of `_attempt`: a task that is cancelled before its first step executes none.
        task.add_done_callback(lambda _: self._end(delivery))

    async def _attempt(self, delivery: DueDelivery) -> None:
        slow = asyncio.get_running_loop().call_later(SLOW_AFTER_SECONDS, self._count_as_slow, delivery)
        try:
            await self._send(delivery)
        except Exception:  # noqa: BLE001 - logged, and the other deliveries continue
            # An internal error: the delivery stays due. Until this pause is over, its receiver counts as busy.
            _log.exception("a delivery failed unexpectedly", delivery_id=delivery.delivery_id)
            await self._sleep(_FAULT_PAUSE_SECONDS)
        finally:
            slow.cancel()

    def _end(self, delivery: DueDelivery) -> None:
        del self._running[delivery.receiver_id]
        self._release(delivery)

    async def _send(self, delivery: DueDelivery) -> None:
        if self._lease.is_held:
            with suppress(LeaseMissingError):
                await self._record(await self._delivery.attempt(delivery))
                return
        await self._lease.held()
        self._forget()  # another replica may own the apps

    def _forget(self) -> None:
        """Forget what was read and has not been started; it is read again as soon as a connection is free."""
        self._forgotten += 1
        self._queued.clear()

    def _count_as_slow(self, delivery: DueDelivery) -> None:
        if len(self._slow[delivery.host]) < MAX_SLOW_PER_HOST and len(self._running) < MAX_AT_ONCE:
            self._slow[delivery.host].add(delivery.receiver_id)
            self._start_next(delivery.host)

    def _release(self, delivery: DueDelivery) -> None:
        slow = self._slow[delivery.host]
        if delivery.receiver_id in slow:
            slow.remove(delivery.receiver_id)
            self.wake()
        else:
            self._start_next(delivery.host)
        if not slow:
            del self._slow[delivery.host]

    def _start_next(self, host: str) -> None:
        """Give a free connection to the next delivery of the host; if none is queued, query the outbox."""
        self._per_host[host] -= 1
        delivery = self._take_queued(host)
        if delivery is not None:
            self._start(delivery)
        else:
            if not self._per_host[host]:
                del self._per_host[host]
            self.wake()

    def _take_queued(self, host: str) -> DueDelivery | None:
        """The host's next queued delivery; None, and an empty queue, if there is none or the queue is outdated."""
        queued = self._queued.get(host)
        if queued and self._lease.now() - queued[0][0] < _QUEUED_SECONDS:
            return queued.popleft()[1]
        self._queued.pop(host, None)
        return None

    async def _record(self, attempt: Attempt) -> None:
        """Keep the attempt until the database has recorded it: sending the status again would be a duplicate."""
        while True:
            try:
                return await self._outbox.record_attempt(attempt)
            except NotOwnerError:
                return None  # the new owner makes the attempt again, with the same webhook-id
            except UnavailableError as error:
                _log.warning("a delivery attempt cannot be recorded; retrying", error=error.message)
                await self._sleep(_STORE_PAUSE_SECONDS)

    async def _wait_until_due(self) -> None:
        """Wait until the next delivery is due, or until `wake`; if none is pending, until `wake` only."""
        due_at = None
        if len(self._running) < MAX_AT_ONCE:
            due_at = await self._outbox.next_due_at(busy=frozenset(self._running), full_hosts=self._full_hosts)
        if due_at is None:
            await self._woken.wait()
            return
        waits = [
            asyncio.ensure_future(self._woken.wait()),
            asyncio.ensure_future(self._sleep(max(0.0, (due_at - self._clock.steady()).total_seconds()))),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _finish_running(self) -> None:
        tasks = {task for _, task in self._running.values()}
        try:
            if tasks:
                await asyncio.wait(tasks, timeout=self._grace_seconds)
        finally:
            for task in tasks:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def _full_hosts(self) -> frozenset[str]:
        return frozenset(host for host, count in self._per_host.items() if count >= MAX_PER_HOST)
