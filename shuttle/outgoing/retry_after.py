"""What a peer's Retry-After asks for (pure)."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

# A peer may ask for patience, but not for longer than the longest pause of the schedule of statuses.
_MAX_RETRY_AFTER_SECONDS = 86_400.0


def retry_after_seconds(headers: Mapping[str, str], now: datetime) -> float | None:
    """What `Retry-After` asks for, in seconds or as a date, within 0 to 24 hours; None = nothing that can be read.

    A date counts from the response's own `Date`, so that neither our clock nor the peer's needs to be right; from `now`
    only without one.
    """
    header = headers.get("Retry-After")
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        # More than 6 digits are more than the limit; int() of a very long text is slow.
        seconds = _MAX_RETRY_AFTER_SECONDS if len(text) > 6 else float(text)
    else:
        date = _date(text)
        if date is None:
            return None
        seconds = (date - (_date(headers.get("Date", "")) or now)).total_seconds()
    return min(max(seconds, 0.0), _MAX_RETRY_AFTER_SECONDS)


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # the latter from a year or an hour of twenty digits
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
