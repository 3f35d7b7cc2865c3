"""A change of a failover's member, as sinks and deliveries report it and the database records it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Failover:
    """The change to `member` (an index from 0), which is used until it fails or the build ends.

    `to` is the member's host for display. `why` says, without secrets, why the members before it could not be used.
    """

    member: int
    to: str
    why: str
