"""Which scenario replays which exchange, and why the others are left out; `test_coverage.py` holds the two complete."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import pytest

from tests.contract.jenkins.exchanges import Exchange

SCENARIOS: dict[str, tuple[str, ...]] = {}


def covers(*ids: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Mark a scenario; it fails when it did not replay exactly these."""

    def mark(scenario: Callable[..., Any]) -> Callable[..., Any]:
        assert SCENARIOS.setdefault(scenario.__name__, ids) == ids, "two scenarios of one name"
        marked: Callable[..., Any] = pytest.mark.covers(*ids)(scenario)
        return marked

    return mark


class Reason(Enum):
    """Why an exchange cannot be replayed here; `applies` checks that it is true of the exchange."""

    FREESTYLE = "a freestyle job: the shuttle makes declarative pipelines only"
    SCRIPTED = "scripted Groovy or an input step: outside the subset that the shuttle renders"
    CONSOLE_PAGE = "Jenkins' own console page in HTML, which nobody but a browser reads"
    RACE = "a real Jenkins answers otherwise from try to try (K-delete-recreate-race.txt)"

    def applies(self, exchange: Exchange) -> bool:
        match self:
            case Reason.FREESTYLE:
                creates = exchange.path == "/createItem" and "<project>" in exchange.body
                return "/job/f1/" in exchange.path or creates
            case Reason.SCRIPTED:
                scripted = ("pinput", "pparam", "pnotbuilt")
                return any(f"/job/{name}/" in exchange.path or f"name={name}" == exchange.query for name in scripted)
            case Reason.CONSOLE_PAGE:
                return exchange.path.endswith(("/progressiveHtml", "/console"))
            case Reason.RACE:
                return exchange.path.startswith("/job/d3/") and exchange.id > "D-ctl-063"


@dataclass
class LeftOut:
    reason: Reason
    ids: tuple[str, ...]


LEFT_OUT = (
    LeftOut(
        Reason.FREESTYLE,
        (
            *("B-sec-055", "D-ctl-007", "D-ctl-008", "D-ctl-009", "D-ctl-010", "D-ctl-011", "D-ctl-012"),
            *("J-restart-010", "J-restart-016"),
        ),
    ),
    LeftOut(
        Reason.SCRIPTED,
        (
            *("E-misc-020", "E-misc-021", "E-misc-040", "E-misc-041", "E-misc-053"),
            *("E-misc-024", "E-misc-025", "E-misc-044", "E-misc-045"),
            *("E-misc-028", "E-misc-029", "E-misc-048", "E-misc-049", "E-misc-054"),
        ),
    ),
    LeftOut(Reason.CONSOLE_PAGE, ("C-build-027", "C-build-042", "C-build-045", "E-misc-052")),
    LeftOut(Reason.RACE, ("D-ctl-064",)),
)
