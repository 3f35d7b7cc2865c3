"""When a delivery is tried again, and what a receiver's Retry-After does to that (pure)."""

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

# A receiver may ask for patience, but not for longer than the longest pause of our own schedule.
_MAX_RETRY_AFTER_SECONDS = 86_400.0
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


def retry_after_seconds(header: str | None, now: datetime) -> float | None:
    """What `Retry-After` asks for, in seconds or as a date, within 0 to 24 hours; None = nothing that can be read."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        # More than 6 digits are more than the limit; int() of a very long text is slow.
        seconds = _MAX_RETRY_AFTER_SECONDS if len(text) > 6 else float(text)
    else:
        try:
            date = parsedate_to_datetime(text)
        except (ValueError, OverflowError):  # the latter from a year or an hour of twenty digits
            return None
        seconds = ((date if date.tzinfo else date.replace(tzinfo=UTC)) - now).total_seconds()
    return min(max(seconds, 0.0), _MAX_RETRY_AFTER_SECONDS)
