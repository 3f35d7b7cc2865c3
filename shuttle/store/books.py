"""The books kept about strangers: the outbox of statuses and the ledger of log sinks."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from shuttle import metrics
from shuttle.clock import Clock
from shuttle.delivery import Attempt, DueDelivery
from shuttle.outgoing.failover import Failover
from shuttle.sinks import SinkTarget
from shuttle.store import Database, ledger, outbox
from shuttle.store.ledger import DeliveryRow
from shuttle.store.offsets import AckedOffsets
from shuttle.vault import Vault


class Books:
    """Implements the ports `shuttle.delivery.Outbox` and `shuttle.sinks.SinkLedger`; see `Store`."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        clock: Clock,
        on_event: Callable[[], None],
    ) -> None:
        """`on_event` is called after a transaction that put something into the outbox."""
        self._database = database
        self._vault = vault
        self._clock = clock
        self._now = clock.now
        self._offsets = AckedOffsets(database)
        self.on_event = on_event

    async def close(self) -> None:
        """Write what is not written yet."""
        await self._offsets.write_if_possible()

    # --- the outbox

    async def due_deliveries(
        self, *, now: datetime, limit: int, busy: frozenset[int], full_hosts: frozenset[str] = frozenset()
    ) -> list[DueDelivery]:
        """See the port."""
        return await self._database.run(
            lambda connection: outbox.due(
                connection, now=now, limit=limit, busy=busy, full_hosts=full_hosts, unseal=self._vault.open
            )
        )

    async def next_due_at(self, *, busy: frozenset[int], full_hosts: frozenset[str] = frozenset()) -> datetime | None:
        """See the port."""
        return await self._database.run(
            lambda connection: outbox.next_due_at(connection, busy=busy, full_hosts=full_hosts)
        )

    async def record_attempt(self, attempt: Attempt) -> None:
        """See the port."""
        metrics.ATTEMPTS.labels(attempt.outcome).inc()
        await self._database.run(lambda connection: outbox.record_attempt(connection, attempt))

    async def deliveries(
        self, *, app_id: str | None, build_id: str | None, state: str | None, limit: int
    ) -> list[DeliveryRow]:
        """See `ledger.list_deliveries`."""
        rows = await self._database.run(
            lambda connection: ledger.list_deliveries(
                connection, app_id=app_id, build_id=build_id, state=state, limit=limit
            )
        )
        return [_as_shown(row, self._clock) for row in rows]

    async def replay(self, *, delivery_id: int | None, app_id: str | None, build_id: str | None) -> int:
        """See `ledger.replay`."""
        now = self._clock.steady()
        result = await self._database.run(
            lambda connection: ledger.replay(
                connection, delivery_id=delivery_id, app_id=app_id, build_id=build_id, now=now
            )
        )
        self.on_event()
        return result

    # --- sinks

    async def open_sinks(self, build_uuid: str | None = None) -> list[SinkTarget]:
        """Sinks that are neither done nor given up."""
        await self._offsets.write()
        return await self._database.run(lambda connection: ledger.open_sinks(connection, self._vault.open, build_uuid))

    async def has_open_sinks(self, build_uuid: str) -> bool:
        """Whether any sink of the build still wants bytes."""
        return await self._database.run(lambda connection: ledger.has_open_sinks(connection, build_uuid))

    async def acknowledged(self, sink_id: int, offset: int) -> None:
        """See the port."""
        self._offsets.note(sink_id, offset)

    async def failing(self, sink_id: int, error: str) -> None:
        """See the port."""
        now = self._now()
        await self._database.run(lambda connection: ledger.sink_fails(connection, sink_id, error, now))

    async def live(self, sink_id: int) -> None:
        """See the port."""
        await self._database.run(
            lambda connection: ledger.sink_is(connection, sink_id, state="live", failing_since=None)
        )

    async def went_over(self, sink_id: int, over: Failover) -> None:
        """See the port."""
        now = self._now()
        await self._database.run(lambda connection: ledger.sink_went_over(connection, sink_id, over, now))

    async def done(self, sink_id: int, offset: int) -> None:
        """See the port."""
        self._offsets.forget(sink_id)
        now = self._now()
        await self._database.run(lambda connection: ledger.sink_done(connection, sink_id, offset, now))

    async def gave_up(self, sink_id: int, error: str) -> None:
        """See the port."""
        await self._offsets.write()
        values = {"state": "gave_up", "last_error": error, "ended_at": self._now()}
        await self._database.run(lambda connection: ledger.sink_is(connection, sink_id, **values))


def _as_shown(row: DeliveryRow, clock: Clock) -> DeliveryRow:
    """With an instant that people can compare with their clocks."""
    return row if row.next_attempt_at is None else replace(row, next_attempt_at=clock.shown(row.next_attempt_at))
