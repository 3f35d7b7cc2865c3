"""Sends statuses to the first of several receivers that accepts them; a build's later statuses begin with that one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from shuttle.delivery import DueDelivery, LeaseMissingError, SendResult, StatusSender
from shuttle.lease import Lease
from shuttle.outgoing.endpoints import EndpointKind
from shuttle.outgoing.failover import Failover
from shuttle.outgoing.hooks import kind_of, members_of, shown_host


@dataclass(frozen=True, slots=True)
class FailoverStatusSender:
    """See `StatusSender`; `senders` has one for each kind, whose timeout limits how long a member may take."""

    senders: Mapping[EndpointKind, StatusSender]
    lease: Lease

    async def post(self, delivery: DueDelivery, at: datetime) -> SendResult:
        """See the port. The result is that of the member that accepted, or has the errors of all.

        If all failed with the same HTTP status, the result has it, too. The member that accepted the build's last
        status is tried first, so a dead one before it costs its timeout only once in a build. The members before it are
        tried again only after all others have failed. Raises LeaseMissingError before a member if the lease has ended:
        the members before it may have taken minutes.
        """
        members = members_of(delivery.url)
        failed: list[tuple[str, SendResult]] = []  # no dict by host: two members may differ in their path only
        for step in range(len(members)):
            if not self.lease.is_held:
                raise LeaseMissingError
            index = (delivery.member + step) % len(members)
            host = shown_host(members[index])
            answer = await self.senders[kind_of(members[index])].post(replace(delivery, url=members[index]), at)
            if answer.error is None:
                failover = Failover(index, host, f"{_errors(failed)} Failed over to {host}.") if failed else None
                return replace(answer, failed_over=failover)
            failed.append((host, answer))
        codes = {answer.status_code for _, answer in failed}
        # A 410 of one member does not end the delivery to the others.
        code = codes.pop() if len(codes) == 1 else None
        return SendResult(code, _errors(failed), _shortest_retry_after([answer for _, answer in failed]))


def _shortest_retry_after(answers: Sequence[SendResult]) -> float | None:
    """The shortest Retry-After; None if a member names none, since it may be tried at any time."""
    named = [answer.retry_after_seconds for answer in answers if answer.retry_after_seconds is not None]
    return min(named) if len(named) == len(answers) else None


def _errors(failed: Sequence[tuple[str, SendResult]]) -> str:
    return " ".join(f"{host}: {answer.error}" for host, answer in failed)
