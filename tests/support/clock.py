"""A clock that tests control: time passes on both clocks, or only the wall clock is set."""

from datetime import UTC, datetime, timedelta

from shuttle.clock import Boot, Clock


class SetClock(Clock):
    """A clock that stands still. `forward` lets time pass; `set_by` changes the wall clock only."""

    def __init__(self, at: datetime = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)) -> None:
        self.wall_at = at
        self.passed_seconds = 0.0
        super().__init__(
            wall=lambda: self.wall_at,
            monotonic=lambda: self.passed_seconds,
            boot=lambda: Boot("a boot", 100 + self.passed_seconds),
        )

    def forward(self, seconds: float) -> None:
        """Let time pass."""
        self.passed_seconds += seconds
        self.set_by(seconds)

    def set_by(self, seconds: float) -> None:
        """Set the wall clock forward or back."""
        self.wall_at += timedelta(seconds=seconds)
