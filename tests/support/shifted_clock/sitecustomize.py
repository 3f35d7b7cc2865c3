"""Sets the wall clock of a Python process forward or back.

Python imports this module at its start if PYTHONPATH names its folder. TESTS_CLOCK_SECONDS is the difference. The
monotonic clock and that of the boot stay as they are.
"""

import datetime
import os
import time
from typing import Any

_SECONDS = float(os.environ.get("TESTS_CLOCK_SECONDS", "0"))
_real_time = time.time
_RealDatetime = datetime.datetime


class _AnyDatetime(type):
    """Instants that C code makes are instances of the real class."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _RealDatetime)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, _RealDatetime)


class _ShiftedDatetime(_RealDatetime, metaclass=_AnyDatetime):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Any:
        return _RealDatetime.now(tz) + datetime.timedelta(seconds=_SECONDS)

    @classmethod
    def utcnow(cls) -> Any:
        return _RealDatetime.now(datetime.UTC).replace(tzinfo=None) + datetime.timedelta(seconds=_SECONDS)


time.time = lambda: _real_time() + _SECONDS
datetime.datetime = _ShiftedDatetime  # type: ignore[misc]
