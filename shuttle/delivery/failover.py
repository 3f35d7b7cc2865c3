"""Statuses to the first of several receivers that takes them, in their order, and on with that one in a build."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from shuttle.delivery import DueDelivery, SendResult, StatusSender
from shuttle.outgoing.failover import Failover
from shuttle.outgoing.hooks import kind_of, members_of, shown_host


@dataclass(frozen=True, slots=True)
class FailoverStatusSender:
    """See `StatusSender`; `senders` by kind give each member no longer than a decision may take."""

    senders: Mapping[str, StatusSender]

    async def post(self, delivery: DueDelivery, at: datetime) -> SendResult:
        """See the port; the answer is the taker's, or tells the errors of all, and their status if it is the same.

        The one that took the build's last status is asked first: a dead one before it costs its time once. Those before
        it only come again when all behind it have failed: then the status has nowhere else to go.
        """
        members = members_of(delivery.url)
        failed: list[tuple[str, SendResult]] = []  # not by host: two members may differ in their path alone
        for step in range(len(members)):
            place = (delivery.member + step) % len(members)
            host = shown_host(members[place])
            answer = await self.senders[kind_of(members[place])].post(replace(delivery, url=members[place]), at)
            if answer.error is None:
                over = Failover(place, host, f"{_errors(failed)} Went over to {host}.") if failed else None
                return replace(answer, went_over=over)
            failed.append((host, answer))
        codes = {answer.status_code for _, answer in failed}
        # One member that says never again (410) does not speak for the others.
        code = codes.pop() if len(codes) == 1 else None
        return SendResult(code, _errors(failed), _common_patience([answer for _, answer in failed]))


def _common_patience(answers: Sequence[SendResult]) -> float | None:
    """Until the first of them wants to be asked again; one that names no time may be asked at any."""
    named = [answer.patience_seconds for answer in answers if answer.patience_seconds is not None]
    return min(named) if len(named) == len(answers) else None


def _errors(failed: Sequence[tuple[str, SendResult]]) -> str:
    return " ".join(f"{host}: {answer.error}" for host, answer in failed)
