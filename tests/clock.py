"""A clock that a test moves: time passes on both of its times, or somebody sets the wall clock."""

from datetime import UTC, datetime, timedelta

from shuttle.clock import Boot, Clock


class SetClock(Clock):
    """Stands still until `forward`; `set_by` moves the wall clock alone."""

    def __init__(self, at: datetime = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)) -> None:
        self.wall_at = at
        self.passed_seconds = 0.0
        super().__init__(
            wall=lambda: self.wall_at,
            monotonic=lambda: self.passed_seconds,
            boot=lambda: Boot("a boot", 100 + self.passed_seconds),
        )

    def forward(self, seconds: float) -> None:
        """Time passes."""
        self.passed_seconds += seconds
        self.set_by(seconds)

    def set_by(self, seconds: float) -> None:
        """Somebody sets the wall clock, forward or back."""
        self.wall_at += timedelta(seconds=seconds)
