"""Recovery of a host: one of the waiting logs probes it; once a request succeeds, the others retry at once."""

import asyncio
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from functools import partial

_PROBE_SECONDS = 5.0
# Between the retries of waiting logs: a receiver that has just started must not get a thousand requests at once.
_APART_SECONDS = 0.01


class HostRecovery:
    """The pauses of all logs, by host. With backoff alone a log could retry a minute after its receiver has recovered.

    A log retries at the end of its pause. In addition the waiting logs probe their host in turn, one probe in
    `probe_seconds` for each host, however many logs wait. For one event loop.
    """

    def __init__(self, probe_seconds: float = _PROBE_SECONDS) -> None:
        self._probe_seconds = probe_seconds
        self._waited_for: dict[str, _Waiting] = {}

    async def pause(self, hosts: AbstractSet[str], seconds: float, *, wake_on_recovery: bool) -> bool:
        """Wait before the next attempt: at most `seconds`, or until it is this log's turn to probe.

        With `wake_on_recovery` the pause also ends when a request to one of `hosts` succeeds; returns whether it did.
        """
        woken: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        for host in hosts:
            if host not in self._waited_for:
                self._waited_for[host] = _Waiting(self._probe_seconds)
            self._waited_for[host].enter(woken, wake_on_recovery)
        try:
            async with asyncio.timeout(seconds):
                return await woken
        except TimeoutError:
            return False
        finally:
            for host in hosts:
                if not self._waited_for[host].leave(woken):
                    del self._waited_for[host]

    def succeeded(self, host: str) -> None:
        """Report that a request to the host has succeeded: the logs that wait for it may retry."""
        waiting = self._waited_for.get(host)
        if waiting is not None:
            waiting.recovered()


class _Waiting:
    """The pauses for one host, in the order in which they began, and whether a success ends them."""

    def __init__(self, probe_seconds: float) -> None:
        self._probe_seconds = probe_seconds
        self._wakes_on_recovery: dict[asyncio.Future[bool], bool] = {}
        self._probe = self._later(probe_seconds, self._send_probe)

    def _later(self, seconds: float, what: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, what)

    def enter(self, woken: asyncio.Future[bool], wake_on_recovery: bool) -> None:
        """Add a pause; idempotent."""
        self._wakes_on_recovery[woken] = wake_on_recovery

    def leave(self, woken: asyncio.Future[bool]) -> bool:
        """Remove a pause; returns whether other pauses remain."""
        self._wakes_on_recovery.pop(woken, None)
        if not self._wakes_on_recovery:
            self._probe.cancel()
        return bool(self._wakes_on_recovery)

    def recovered(self) -> None:
        """End the pauses that wake on recovery, one after the other."""
        for index, woken in enumerate(
            [woken for woken, wake_on_recovery in self._wakes_on_recovery.items() if wake_on_recovery]
        ):
            self._later(index * _APART_SECONDS, partial(_wake, woken, recovered=True))

    def _send_probe(self) -> None:
        for woken in self._wakes_on_recovery:
            if not woken.done():
                _wake(woken, recovered=False)
                break
        self._probe = self._later(self._probe_seconds, self._send_probe)


def _wake(woken: asyncio.Future[bool], *, recovered: bool) -> None:
    if not woken.done():
        woken.set_result(recovered)
