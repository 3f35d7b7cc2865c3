"""Far ends: of the logs that wait for a receiver one looks every now and then, and once one is heard all try again."""

import asyncio
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from functools import partial

_SCOUT_SECONDS = 5.0
# Those that were waiting come back so far apart: a receiver that has just started is not met by a thousand at once.
_APART_SECONDS = 0.01


class FarEnds:
    """Who waits for which host, in all logs together: backoff alone would bring each of them back a minute late.

    However many wait for a host that is dead, it costs them one look together in `scout_seconds`, by turns, beside the
    tries at the ends of their own pauses. Used from one event loop.
    """

    def __init__(self, scout_seconds: float = _SCOUT_SECONDS) -> None:
        self._scout_seconds = scout_seconds
        self._waited_for: dict[str, _Waiting] = {}

    async def pause(self, hosts: AbstractSet[str], seconds: float, *, heeding: bool) -> bool:
        """Rest before another try at any of `hosts`: at most so long, or until it is this one's turn to look.

        If `heeding`, also until one of them is heard; returns whether that was why.
        """
        woken: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        for host in hosts:
            if host not in self._waited_for:
                self._waited_for[host] = _Waiting(self._scout_seconds)
            self._waited_for[host].enter(woken, heeding)
        try:
            async with asyncio.timeout(seconds):
                return await woken
        except TimeoutError:
            return False
        finally:
            for host in hosts:
                if not self._waited_for[host].left_by(woken):
                    del self._waited_for[host]

    def heard(self, host: str) -> None:
        """It has just taken something: those who wait for it may try."""
        waiting = self._waited_for.get(host)
        if waiting is not None:
            waiting.call_back()


class _Waiting:
    """Those who wait for one host, the longest first, and whether a sign of life ends their pauses."""

    def __init__(self, scout_seconds: float) -> None:
        self._scout_seconds = scout_seconds
        self._heeding: dict[asyncio.Future[bool], bool] = {}
        self._scout = self._later(scout_seconds, self._send_scout)

    def _later(self, seconds: float, what: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, what)

    def enter(self, woken: asyncio.Future[bool], heeding: bool) -> None:
        """One more; twice is once."""
        self._heeding[woken] = heeding

    def left_by(self, woken: asyncio.Future[bool]) -> bool:
        """One less; whether there are others."""
        self._heeding.pop(woken, None)
        if not self._heeding:
            self._scout.cancel()
        return bool(self._heeding)

    def call_back(self) -> None:
        """Wake those who heed, one after the other."""
        for place, woken in enumerate([woken for woken, heeding in self._heeding.items() if heeding]):
            self._later(place * _APART_SECONDS, partial(_wake, woken, heard=True))

    def _send_scout(self) -> None:
        for woken in self._heeding:
            if not woken.done():
                _wake(woken, heard=False)
                break
        self._scout = self._later(self._scout_seconds, self._send_scout)


def _wake(woken: asyncio.Future[bool], *, heard: bool) -> None:
    if not woken.done():
        woken.set_result(heard)
