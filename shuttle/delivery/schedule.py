"""Computes when a delivery is attempted again (pure)."""

import random
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

# Up to a tenth later, never earlier: a receiver that recovers does not get the statuses of all builds at once.
_JITTER = 0.1


def next_attempt_at(
    schedule_seconds: Sequence[float],
    *,
    tries: int,
    failed_at: datetime,
    retry_after_seconds: float | None = None,
    uniform: Callable[[float, float], float] = random.uniform,
) -> datetime | None:
    """The next attempt after `tries` failures, the last at `failed_at`; None = the schedule is exhausted.

    `schedule_seconds` are the delays before the first, second, … attempt, each from the failure before it.
    """
    if tries >= len(schedule_seconds):
        return None
    pause_seconds = schedule_seconds[tries] * (1 + uniform(0, _JITTER))
    return failed_at + timedelta(seconds=max(pause_seconds, retry_after_seconds or 0))
