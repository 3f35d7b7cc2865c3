"""The service's two times: the wall clock for what people read, and steady time for limits.

Steady time is written like the wall clock and agrees with it at the first start. From then on it advances by the
seconds that have really passed, so a wall clock that is set changes no limit. It is recorded (`Anchor`): a process that
starts on the same boot of the machine counts the time in between, one on another boot continues from the recorded
instant: only the wall clock could tell how long the machine was down, and that may have been set meanwhile.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# Not CLOCK_BOOTTIME: tools that fake a process' clocks change it too.
_UPTIME = Path("/proc/uptime")


class Moment(NamedTuple):
    """One instant on both times: `at` is shown, `steady` decides on limits."""

    at: datetime
    steady: datetime


@dataclass(frozen=True, slots=True)
class Boot:
    """One boot of the machine: its id, "" where the system does not tell, and the seconds since it began."""

    boot_id: str
    uptime_seconds: float


@dataclass(frozen=True, slots=True)
class Anchor:
    """A recorded instant of steady time, and where it lies in a boot of the machine."""

    steady_at: datetime
    boot: Boot


def read_boot() -> Boot:
    """The present boot; nothing outlasts a process where the system does not have these files."""
    try:
        return Boot(_BOOT_ID.read_text().strip(), float(_UPTIME.read_text().split()[0]))
    except (OSError, ValueError, IndexError):
        return Boot("", 0.0)


def _wall() -> datetime:
    return datetime.now(UTC)


class Clock:
    """Both times of one process. Safe for any number of threads once it has resumed."""

    def __init__(
        self,
        wall: Callable[[], datetime] = _wall,
        monotonic: Callable[[], float] = time.monotonic,
        boot: Callable[[], Boot] = read_boot,
    ) -> None:
        """`wall` gives aware UTC, `monotonic` seconds that nothing sets, `boot` the present boot."""
        self.now = wall
        self._monotonic = monotonic
        self._boot = boot
        self._began_at = wall()
        self._began = monotonic()

    def resume(self, recorded: Anchor | None) -> None:
        """Continue the recorded time; without one it agrees with the wall clock."""
        self._began, self._began_at = self._monotonic(), self.now()
        if recorded is None:
            return
        boot, passed_seconds = self._boot(), 0.0
        if boot.boot_id and boot.boot_id == recorded.boot.boot_id:
            passed_seconds = max(boot.uptime_seconds - recorded.boot.uptime_seconds, 0.0)
        self._began_at = recorded.steady_at + timedelta(seconds=passed_seconds)

    def steady(self) -> datetime:
        """Steady time."""
        return self._began_at + timedelta(seconds=self._monotonic() - self._began)

    def moment(self) -> Moment:
        """Now, on both times."""
        return Moment(self.now(), self.steady())

    def shown(self, steady_at: datetime) -> datetime:
        """What the wall clock says at an instant of steady time, as it is set now."""
        return steady_at + (self.now() - self.steady())

    def anchor(self) -> Anchor:
        """What to record."""
        return Anchor(self.steady(), self._boot())
