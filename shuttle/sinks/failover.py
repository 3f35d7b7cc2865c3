"""Logs to the first of several receivers that works (docs/contract.md, "Failover")."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from shuttle.logs import LogReader
from shuttle.outgoing.failover import Failover
from shuttle.outgoing.hooks import kind_of, members_of, shown_host
from shuttle.sinks import SinkLedger, SinkTarget
from shuttle.sinks.forward import LogUpload, UploadFactory
from shuttle.sinks.host_recovery import HostRecovery

# The next member continues within 10 s (docs/contract.md, "Failover"); the rest is for the switch itself.
DECISION_SECONDS = 9.0


class FailoverUploadFactory:
    """Makes uploads that go over to the next member when one fails; see `shuttle.sinks.forward.UploadFactory`.

    `factories` by kind; `decision_seconds` is how long a member may take nothing of what there is to send.
    """

    def __init__(self, factories: Mapping[str, UploadFactory], decision_seconds: float = DECISION_SECONDS) -> None:
        self._factories = factories
        self._decision_seconds = decision_seconds

    def upload(
        self, target: SinkTarget, log: LogReader, ledger: SinkLedger, host_recovery: HostRecovery
    ) -> "FailoverUpload":
        """For one log; nothing is opened yet."""
        urls = members_of(target.url)
        members = [
            self._factories[kind_of(url)].upload(
                replace(target, url=url, kind=kind_of(url)), log, ledger, host_recovery
            )
            for url in urls
        ]
        return FailoverUpload(members, [shown_host(url) for url in urls], target, ledger, self._decision_seconds)


class FailoverUpload:
    """See `shuttle.sinks.forward.LogUpload`. One attempt is a round: every member from the present one on, once.

    Within a build it goes back to an earlier member only when the last one has failed too: then the log has nowhere
    else to go.
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
        self._place = target.member % len(members)
        self._sink_id = target.sink_id
        self._ledger = ledger
        self._decision_seconds = decision_seconds

    @property
    def refusals(self) -> int:
        """Of the member that refused least: only when all refuse there is no more use in trying."""
        return min(member.refusals for member in self._members)

    async def attempt(self, patience_seconds: Callable[[], float]) -> bool:
        """Send by the present member, and from the first unacknowledged byte by each after it."""
        began_at_offset = self.offset
        while True:
            member = self._members[self._place]
            member.offset = self.offset
            if await member.attempt(lambda: min(patience_seconds(), self._decision_seconds)):
                self.offset = member.offset
                return True
            self.offset = max(self.offset, member.offset)
            await self._go_over(member.problem)
            if self._place == 0:
                self.failures = 0 if self.offset > began_at_offset else self.failures + 1
                return False

    async def _go_over(self, problem: str) -> None:
        self._place = (self._place + 1) % len(self._members)
        to = self._hosts[self._place]
        self.problem = f"{problem} Went over to {to} at offset {self.offset}."
        await self._ledger.went_over(self._sink_id, Failover(self._place, to, self.problem))
