"""The state of log sinks in the database: implements the port `shuttle.sinks.SinkLedger`."""

from collections.abc import Sequence

from shuttle.outgoing.failover import Failover
from shuttle.sinks import SinkTarget
from shuttle.store import Database, ledger
from shuttle.store.offsets import AckedOffsets
from shuttle.vault import Vault


class StoredSinks:
    """See the port."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database = database
        self._vault = vault
        self._offsets = AckedOffsets(database)

    async def close(self) -> None:
        """Write the acknowledged offsets that are not recorded yet."""
        await self._offsets.write_if_possible()

    async def open_sinks(self, build_uuids: Sequence[str]) -> list[SinkTarget]:
        """The sinks of these builds that are neither done nor given up."""
        await self._offsets.write()
        return await self._database.run(ledger.open_sinks, self._vault.open, build_uuids)

    async def acknowledged(self, sink_id: int, offset: int) -> None:
        """See the port."""
        self._offsets.note(sink_id, offset)

    async def failing(self, sink_id: int, error: str) -> None:
        """See the port."""
        await self._database.run(ledger.record_sink_failure, sink_id, error)

    async def live(self, sink_id: int) -> None:
        """See the port."""
        await self._database.run(ledger.record_sink_live, sink_id)

    async def failed_over(self, sink_id: int, over: Failover) -> None:
        """See the port."""
        await self._database.run(ledger.record_sink_failover, sink_id, over)

    async def done(self, sink_id: int, offset: int) -> None:
        """See the port."""
        self._offsets.forget(sink_id)
        await self._database.run(ledger.record_sink_done, sink_id, offset)

    async def gave_up(self, sink_id: int, error: str) -> None:
        """See the port."""
        await self._offsets.write()
        await self._database.run(ledger.record_sink_given_up, sink_id, error)
