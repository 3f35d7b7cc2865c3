"""Sends a log to the first of several receivers that works (docs/contract.md, "Failover")."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from shuttle.logs import LogReader
from shuttle.outgoing.endpoints import EndpointKind
from shuttle.outgoing.failover import Failover
from shuttle.outgoing.hooks import kind_of, members_of, shown_host
from shuttle.sinks import SinkLedger, SinkTarget
from shuttle.sinks.forward import LogUpload, UploadFactory
from shuttle.sinks.host_recovery import HostRecovery

# The next member has to continue within 10 s (docs/contract.md, "Failover"); 1 s is left for the switch itself.
DECISION_SECONDS = 9.0


class FailoverUploadFactory:
    """Makes uploads that fail over to the next member; see `shuttle.sinks.forward.UploadFactory`.

    `factories` has one factory for each kind. A member that makes no progress for `decision_seconds` has failed.
    """

    def __init__(
        self, factories: Mapping[EndpointKind, UploadFactory], decision_seconds: float = DECISION_SECONDS
    ) -> None:
        self._factories = factories
        self._decision_seconds = decision_seconds

    def upload(
        self, target: SinkTarget, log: LogReader, ledger: SinkLedger, host_recovery: HostRecovery
    ) -> "FailoverUpload":
        """Make the upload of one log; it opens no connection yet."""
        urls = members_of(target.url)
        members = [
            self._factories[kind_of(url)].upload(
                replace(target, url=url, kind=kind_of(url)), log, ledger, host_recovery
            )
            for url in urls
        ]
        return FailoverUpload(members, [shown_host(url) for url in urls], target, ledger, self._decision_seconds)


class FailoverUpload:
    """See `shuttle.sinks.forward.LogUpload`. An attempt tries each member once, from the current one to the last.

    Within a build an earlier member is tried again only after the last one has failed, too.
    """

    def __init__(
        self,
        members: list[LogUpload],
        hosts: list[str],
        target: SinkTarget,
        ledger: SinkLedger,
        decision_seconds: float,
    ) -> None:
        self.offset = target.acked_offset
        self.problem = ""
        self.failures = 0
        self._members = members
        self._hosts = hosts
        self._index = target.member % len(members)
        self._sink_id = target.sink_id
        self._ledger = ledger
        self._decision_seconds = decision_seconds

    @property
    def refusals(self) -> int:
        """The lowest number among the members: the sink gives up only when all of them refuse."""
        return min(member.refusals for member in self._members)

    async def attempt(self, timeout_seconds: Callable[[], float]) -> bool:
        """Send to the current member; if it fails, to each following one from the first unacknowledged byte."""
        began_at_offset = self.offset
        while True:
            member = self._members[self._index]
            member.offset = self.offset
            if await member.attempt(lambda: min(timeout_seconds(), self._decision_seconds)):
                self.offset = member.offset
                return True
            self.offset = max(self.offset, member.offset)
            await self._fail_over(member.problem)
            if self._index == 0:
                self.failures = 0 if self.offset > began_at_offset else self.failures + 1
                return False

    async def _fail_over(self, problem: str) -> None:
        self._index = (self._index + 1) % len(self._members)
        to = self._hosts[self._index]
        self.problem = f"{problem} Failed over to {to} at offset {self.offset}."
        await self._ledger.failed_over(self._sink_id, Failover(self._index, to, self.problem))
