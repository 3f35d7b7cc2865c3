"""When a delivery is tried again (pure)."""

import random
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

# Later only, up to a tenth: receivers that came back are not met by every build in the same instant.
_JITTER = 0.1


def next_attempt_at(
    schedule_seconds: Sequence[float],
    *,
    tries: int,
    failed_at: datetime,
    retry_after_seconds: float | None = None,
    uniform: Callable[[float, float], float] = random.uniform,
) -> datetime | None:
    """When to try after `tries` failures, the last at `failed_at`; None = the schedule is used up.

    `schedule_seconds` are the pauses before the first, second, … try, each counted from the failure before it.
    """
    if tries >= len(schedule_seconds):
        return None
    pause_seconds = schedule_seconds[tries] * (1 + uniform(0, _JITTER))
    return failed_at + timedelta(seconds=max(pause_seconds, retry_after_seconds or 0))
