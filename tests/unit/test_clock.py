"""Steady time advances independently of the wall clock, and continues in the next process."""

from datetime import UTC, datetime, timedelta

import pytest

from shuttle.clock import Anchor, Boot, Clock, read_boot
from tests.support.clock import SetClock

AT = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize("set_by_seconds", [-3600, 3600, -(10**9)])
def test_steady_time_passes_whatever_the_wall_clock_is_set_to(set_by_seconds):
    clock = SetClock(AT)
    clock.forward(10)
    clock.set_by(set_by_seconds)
    clock.forward(5)
    assert clock.steady() == AT + timedelta(seconds=15)
    assert clock.now() == AT + timedelta(seconds=15 + set_by_seconds)
    assert clock.moment() == (clock.now(), clock.steady())
    assert clock.shown(clock.steady() + timedelta(seconds=60)) == clock.now() + timedelta(seconds=60)


@pytest.mark.parametrize(
    ("boot", "passed_seconds"),
    [
        (Boot("this", 130.0), 30),
        (Boot("this", 100.0), 0),
        (Boot("this", 3.0), 0),  # a container counts from its own start
        (Boot("another", 130.0), 0),
        (Boot("", 130.0), 0),
    ],
)
def test_downtime_counts_only_if_the_machine_was_not_rebooted(boot, passed_seconds):
    clock = Clock(wall=lambda: AT + timedelta(hours=1), monotonic=lambda: 7.0, boot=lambda: boot)
    clock.resume(Anchor(AT, Boot("this", 100.0)))
    assert clock.steady() == AT + timedelta(seconds=passed_seconds)


def test_downtime_does_not_count_without_a_boot_id():
    clock = Clock(wall=lambda: AT, boot=lambda: Boot("", 130.0))
    clock.resume(Anchor(AT, Boot("", 100.0)))
    assert clock.steady() - AT < timedelta(seconds=10)


def test_steady_time_begins_at_the_wall_clock():
    clock = SetClock(AT)
    assert clock.steady() == clock.now()


def test_reads_the_boot_of_this_machine():
    first, second = read_boot(), read_boot()
    assert first.boot_id == second.boot_id != ""
    assert 0 < first.uptime_seconds <= second.uptime_seconds
