"""A failover's step from one member to another: what sinks and deliveries say of it, and the ledger keeps."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Failover:
    """Which member, from 0, it goes on with until it fails or the build is over; `to` is what may be shown of it.

    `why` is what kept the members before it, in sentences without secrets.
    """

    member: int
    to: str
    why: str
