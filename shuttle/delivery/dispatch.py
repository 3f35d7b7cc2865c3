"""The dispatcher: starts what is due, one try at a time for each receiver of a build, and sleeps until the next."""

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping

import structlog

from shuttle.clock import Clock
from shuttle.delivery import Attempt, DueDelivery, Outbox, StatusSender
from shuttle.delivery.deliver import StatusDelivery
from shuttle.errors import UnavailableError
from shuttle.settings import Settings

# Connections to a host that answers; what it leaves unanswered for a second waits on beside them, so that one hook
# that hangs holds up no other of its host. A host that hangs whole has 100 for 15 s each; the others keep 400.
MAX_PER_HOST = 20
MAX_SLOW_PER_HOST = 80
SLOW_AFTER_SECONDS = 1.0
MAX_AT_ONCE = 500
# A look at the outbox costs it 5 ms and more when thousands wait; one look feeds a busy host this many tries.
_MOST_AT_A_LOOK = 100
# Most receivers answer within this; what they do not answer is tried again after the restart.
_LONGEST_GRACE_SECONDS = 2.0
_STORE_PAUSE_SECONDS = 1.0
_FAULT_PAUSE_SECONDS = 30.0

_log = structlog.get_logger()


class Dispatcher:
    """Delivers what the outbox holds; `run` once, `wake` after any transaction that wrote an event.

    Nothing is kept here that the outbox does not hold: after a crash a try that was under way is made again, with the
    same webhook-id. `senders` by kind; that of `http` must allow MAX_AT_ONCE connections. `sleep` waits for
    seconds.
    """

    def __init__(
        self,
        outbox: Outbox,
        senders: Mapping[str, StatusSender],
        settings: Settings,
        clock: Clock,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._outbox = outbox
        self._delivery = StatusDelivery(
            senders=senders, schedule_seconds=settings.shuttle_webhook_schedule_seconds, clock=clock
        )
        self._clock = clock
        self._sleep = sleep
        self._grace_seconds = min(settings.shuttle_shutdown_seconds / 4, _LONGEST_GRACE_SECONDS)
        self._woken = asyncio.Event()
        self._under_way: dict[int, asyncio.Task[None]] = {}
        self._per_host: Counter[str] = Counter()
        self._slow: defaultdict[str, set[int]] = defaultdict(set)
        # Fetched and due, while their host has no place: a full host is not asked for again until its line is gone.
        self._in_line: defaultdict[str, deque[DueDelivery]] = defaultdict(deque)

    def wake(self, _build_uuid: str = "") -> None:
        """Something may be due: a new event, a replay, the end of a try."""
        self._woken.set()

    async def run(self) -> None:
        """Deliver until cancelled; then tries under way get a short grace, and what they leave is due again."""
        try:
            while True:
                self._woken.clear()
                try:
                    await self._start_what_is_due()
                    await self._rest()
                except UnavailableError as error:
                    _log.warning("deliveries wait for the database", error=error.message)
                    await self._sleep(_STORE_PAUSE_SECONDS)
                except Exception:  # noqa: BLE001 - logged; a dispatcher that ends would end every status
                    _log.exception("the dispatcher failed unexpectedly")
                    await self._sleep(_FAULT_PAUSE_SECONDS)
        finally:
            self._in_line.clear()
            await self._let_finish()

    async def _start_what_is_due(self) -> None:
        while (limit := min(MAX_AT_ONCE - len(self._under_way), _MOST_AT_A_LOOK)) > 0:
            due = await self._outbox.due_deliveries(
                now=self._clock.steady(), limit=limit, busy=frozenset(self._under_way), full_hosts=self._full_hosts
            )
            for delivery in due:
                if self._per_host[delivery.host] < MAX_PER_HOST:
                    self._start(delivery)
                else:
                    self._in_line[delivery.host].append(delivery)
            if len(due) < limit:
                return

    def _start(self, delivery: DueDelivery) -> None:
        self._per_host[delivery.host] += 1
        self._under_way[delivery.receiver_id] = asyncio.create_task(self._try_once(delivery))

    async def _try_once(self, delivery: DueDelivery) -> None:
        slow = asyncio.get_running_loop().call_later(SLOW_AFTER_SECONDS, self._is_slow, delivery)
        try:
            await self._record(await self._delivery.attempt(delivery))
        except Exception:  # noqa: BLE001 - logged, and the other deliveries go on
            # A fault of ours in one delivery: it stays due, so it keeps its place for a while instead of spinning.
            _log.exception("a delivery failed unexpectedly", delivery_id=delivery.delivery_id)
            await self._sleep(_FAULT_PAUSE_SECONDS)
        finally:
            slow.cancel()
            del self._under_way[delivery.receiver_id]
            self._leave(delivery)

    def _is_slow(self, delivery: DueDelivery) -> None:
        if len(self._slow[delivery.host]) < MAX_SLOW_PER_HOST and len(self._under_way) < MAX_AT_ONCE:
            self._slow[delivery.host].add(delivery.receiver_id)
            self._give_place_on(delivery.host)

    def _leave(self, delivery: DueDelivery) -> None:
        slow = self._slow[delivery.host]
        if delivery.receiver_id in slow:
            slow.remove(delivery.receiver_id)
            self.wake()
        else:
            self._give_place_on(delivery.host)
        if not slow:
            del self._slow[delivery.host]

    def _give_place_on(self, host: str) -> None:
        """To the next in the host's line; only without one is the outbox worth another look."""
        self._per_host[host] -= 1
        line = self._in_line.get(host)
        if line:
            self._start(line.popleft())
        else:
            self._in_line.pop(host, None)
            if not self._per_host[host]:
                del self._per_host[host]
            self.wake()

    async def _record(self, attempt: Attempt) -> None:
        """What the receiver said is kept in memory until the database takes it: asking again would be a double."""
        while True:
            try:
                return await self._outbox.record_attempt(attempt)
            except UnavailableError as error:
                _log.warning("an attempt waits to be recorded", error=error.message)
                await self._sleep(_STORE_PAUSE_SECONDS)

    async def _rest(self) -> None:
        """Until woken, or until the next delivery falls due; without either, for as long as it takes."""
        due_at = None
        if len(self._under_way) < MAX_AT_ONCE:
            due_at = await self._outbox.next_due_at(busy=frozenset(self._under_way), full_hosts=self._full_hosts)
        if due_at is None:
            await self._woken.wait()
            return
        ears = [
            asyncio.ensure_future(self._woken.wait()),
            asyncio.ensure_future(self._sleep(max(0.0, (due_at - self._clock.steady()).total_seconds()))),
        ]
        try:
            await asyncio.wait(ears, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for ear in ears:
                ear.cancel()

    async def _let_finish(self) -> None:
        tasks = set(self._under_way.values())
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
