"""The outbox of statuses in the database: implements the port `shuttle.delivery.Outbox`."""

from datetime import datetime

from shuttle import metrics
from shuttle.delivery import Attempt, DueDelivery
from shuttle.store import Database, delivery_attempts, outbox
from shuttle.vault import Vault


class StoredOutbox:
    """See the port."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database = database
        self._vault = vault

    async def due_deliveries(
        self, *, now: datetime, limit: int, busy: frozenset[int], full_hosts: frozenset[str] = frozenset()
    ) -> list[DueDelivery]:
        """See the port."""
        return await self._database.run(
            outbox.due_deliveries, now=now, limit=limit, busy=busy, full_hosts=full_hosts, unseal=self._vault.open
        )

    async def next_due_at(self, *, busy: frozenset[int], full_hosts: frozenset[str] = frozenset()) -> datetime | None:
        """See the port."""
        return await self._database.run(outbox.next_due_at, busy=busy, full_hosts=full_hosts)

    async def record_attempt(self, attempt: Attempt) -> None:
        """See the port."""
        metrics.ATTEMPTS.labels(attempt.outcome).inc()
        await self._database.run(delivery_attempts.record_attempt, attempt)
