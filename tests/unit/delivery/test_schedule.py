"""The retry schedule of deliveries."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from shuttle.delivery.schedule import next_attempt_at
from shuttle.outgoing.retry_after import retry_after_seconds
from shuttle.settings import load_settings

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def pause(tries: int, retry_after: float | None = None, jitter: float = 0) -> float | None:
    at = next_attempt_at(
        load_settings({}).shuttle_webhook_schedule_seconds,
        tries=tries,
        failed_at=NOW,
        retry_after_seconds=retry_after,
        uniform=lambda low, high: low + (high - low) * jitter,
    )
    return None if at is None else (at - NOW).total_seconds()


def test_delays_grow_for_days_and_then_end():
    pauses = [pause(tries) for tries in range(1, 13)]
    assert pauses == [5, 15, 60, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400, None]


def test_jitter_adds_up_to_a_tenth_and_never_shortens_a_delay():
    assert pause(2, jitter=1) == 16.5
    assert pause(11, jitter=0.5) == 86400 * 1.05


def test_retry_after_can_lengthen_a_delay_up_to_a_day_but_not_shorten_it():
    assert pause(1, retry_after=120) == 120
    assert pause(3, retry_after=1) == 60
    assert pause(12, retry_after=1) is None
    assert retry_after_seconds({"Retry-After": "9" * 400}, NOW) == 86400


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("120", 120),
        (" 0 ", 0),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90),
        ("Fri, 20 Nov 2026 13:00:30 +0100", 30),
        (format_datetime(NOW - timedelta(days=1), usegmt=True), 0),
        (format_datetime(NOW + timedelta(days=900), usegmt=True), 86400),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("Fri, 99 Nov 2026 12:00:00 GMT", None),
        ("Fri, 20 Nov 99999999999 12:00:00 GMT", None),
        ("Fri, 20 Nov 2026 1333333333333333333333333:00:30 +0100", None),
    ],
)
def test_retry_after_is_read_in_seconds_or_as_a_date(header, seconds):
    assert retry_after_seconds({} if header is None else {"Retry-After": header}, NOW) == seconds


@pytest.mark.parametrize("hours", [-1, 1])
def test_date_in_retry_after_counts_from_the_date_of_the_response(hours):
    ours = NOW + timedelta(hours=hours)  # one of the two clocks is wrong
    headers = {"Date": format_datetime(NOW, usegmt=True)}
    headers["Retry-After"] = format_datetime(NOW + timedelta(seconds=90), usegmt=True)
    assert retry_after_seconds(headers, ours) == 90
    assert retry_after_seconds({**headers, "Date": "today"}, NOW) == 90
