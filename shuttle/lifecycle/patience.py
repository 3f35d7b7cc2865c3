"""Patience: waiting for somebody we depend on, with backoff, telling why, and ending early when the build changes."""

import random

from shuttle.lifecycle import Ports

# Jitter keeps a thousand builds from asking a Jenkins that just came back in the same instant.
_FIRST_SECONDS = 0.25
_LONGEST_SECONDS = 10.0


class Patience:
    """One wait after another for one build, each longer than the last up to 10 seconds."""

    def __init__(self, build_uuid: str, ports: Ports) -> None:
        self._build_uuid = build_uuid
        self._ports = ports
        self._told: str | None = None
        self.next_seconds = _FIRST_SECONDS

    async def wait(self, why: str) -> None:
        """Show `why` as the build's `waiting_for`, then wait; returns early when something about the build changes."""
        with self._ports.signals.listen(self._build_uuid) as listener:
            if why != self._told:
                self._told = why
                await self._ports.store.waits_for(self._build_uuid, why)
            await listener.wait(self.next_seconds * random.uniform(0.75, 1.25))  # noqa: S311 - jitter, not a secret
        self.next_seconds = min(self.next_seconds * 2, _LONGEST_SECONDS)

    async def over(self) -> None:
        """What we waited for is there again."""
        self.next_seconds = _FIRST_SECONDS
        if self._told is not None:
            self._told = None
            await self._ports.store.waits_for(self._build_uuid, None)
