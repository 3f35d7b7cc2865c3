"""Moves everything from SQLite and a data directory to PostgreSQL and S3; `run.py` has the steps in their order."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Sum:
    """How many rows or objects there are, how many bytes these objects have, and a digest of all (256 bits, hex)."""

    count: int
    sha256: str
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """The sums of both sides, by the name of a table, or `objects` and `running logs`."""

    moved_from: Mapping[str, Sum]
    moved_to: Mapping[str, Sum]

    @property
    def differences(self) -> list[str]:
        """The names whose sums differ."""
        names = [*self.moved_from, *(name for name in self.moved_to if name not in self.moved_from)]
        return [name for name in names if self.moved_from.get(name) != self.moved_to.get(name)]

    def as_json(self) -> dict[str, Any]:
        """The report as JSON; `report_from` reads it."""
        return {side: {name: asdict(found) for name, found in getattr(self, side).items()} for side in _SIDES}


_SIDES = ("moved_from", "moved_to")


def report_from(recorded: Any) -> Report:
    """The report that `as_json` wrote."""
    return Report(*({name: Sum(**found) for name, found in recorded[side].items()} for side in _SIDES))
