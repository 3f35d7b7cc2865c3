"""The service's two clocks: the wall clock for what people read, and steady time for limits.

Steady time has the form of the wall clock and agrees with it at the first start. From then on it advances by the
seconds that have really passed, so setting the wall clock changes no limit. It is recorded (`Anchor`). A process that
starts later in the same boot of the machine adds the time since the record. In another boot it continues from the
recorded instant: only the wall clock could say how long the machine was down, and it may have been set meanwhile.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# Not CLOCK_BOOTTIME: tools that fake the clocks of a process change it as well.
_UPTIME = Path("/proc/uptime")


class Moment(NamedTuple):
    """One instant on both clocks: `at` is shown, `steady` decides on limits."""

    at: datetime
    steady: datetime


@dataclass(frozen=True, slots=True)
class Boot:
    """One boot of the machine: its id ("" if the system does not provide it) and the seconds since it began."""

    boot_id: str
    uptime_seconds: float


@dataclass(frozen=True, slots=True)
class Anchor:
    """A recorded instant of steady time, and its position in a boot of the machine."""

    steady_at: datetime
    boot: Boot


def read_boot() -> Boot:
    """The current boot; without these files of the system, each process counts as a boot of its own."""
    try:
        return Boot(_BOOT_ID.read_text().strip(), float(_UPTIME.read_text().split()[0]))
    except (OSError, ValueError, IndexError):
        return Boot("", 0.0)


def _wall() -> datetime:
    return datetime.now(UTC)


class Clock:
    """Both clocks of one process. Thread-safe once `resume` was called."""

    def __init__(
        self,
        wall: Callable[[], datetime] = _wall,
        monotonic: Callable[[], float] = time.monotonic,
        boot: Callable[[], Boot] = read_boot,
    ) -> None:
        """`wall` gives aware UTC, `monotonic` seconds that cannot be set, `boot` the current boot."""
        self.now = wall
        self._monotonic = monotonic
        self._boot = boot
        self._began_at = wall()
        self._began = monotonic()

    def resume(self, recorded: Anchor) -> None:
        """Continue the recorded steady time."""
        self._began = self._monotonic()
        boot, passed_seconds = self._boot(), 0.0
        if boot.boot_id and boot.boot_id == recorded.boot.boot_id:
            passed_seconds = max(boot.uptime_seconds - recorded.boot.uptime_seconds, 0.0)
        self._began_at = recorded.steady_at + timedelta(seconds=passed_seconds)

    def steady(self) -> datetime:
        """Steady time."""
        return self._began_at + timedelta(seconds=self._monotonic() - self._began)

    def catch_up(self, recorded: Anchor) -> None:
        """Advance steady time to the recorded one, if another replica is ahead."""
        ahead = recorded.steady_at - self.steady()
        if ahead > timedelta():
            self._began_at += ahead

    def moment(self) -> Moment:
        """Now, on both clocks."""
        return Moment(self.now(), self.steady())

    def shown(self, steady_at: datetime) -> datetime:
        """The wall clock's time, as it is set now, at an instant of steady time."""
        return steady_at + (self.now() - self.steady())

    def anchor(self) -> Anchor:
        """The instant to record."""
        return Anchor(self.steady(), self._boot())
