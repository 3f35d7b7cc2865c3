"""Reads the header Retry-After (pure functions)."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

# The longest pause in the default schedule of deliveries; a peer cannot ask for a longer one.
_MAX_RETRY_AFTER_SECONDS = 86_400.0


def retry_after_seconds(headers: Mapping[str, str], now: datetime) -> float | None:
    """The pause that `Retry-After` asks for, from 0 to 24 hours; None = the header is missing or invalid.

    The header has seconds or a date. A date is compared with the response's own `Date`, so that neither clock needs to
    be right, or with `now` if there is none.
    """
    header = headers.get("Retry-After")
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        # More than 6 digits exceed the limit; converting a very long text would be slow.
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
    except (ValueError, OverflowError):  # OverflowError: a year or an hour of twenty digits
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
