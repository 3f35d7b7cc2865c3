"""Which scenario replays which exchange, and why the others are left out; `test_coverage.py` checks completeness."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any

import pytest

from tests.contract.jenkins.exchanges import Exchange

SCENARIOS: dict[str, dict[str, tuple[str, ...]]] = {"2.263": {}, "2.568": {}}


def covers(*ids: str, generation: str = "2.263") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Mark a scenario of a generation; it fails unless it replays exactly these exchanges."""

    def mark(scenario: Callable[..., Any]) -> Callable[..., Any]:
        assert SCENARIOS[generation].setdefault(scenario.__name__, ids) == ids, "two scenarios of one name"
        marked: Callable[..., Any] = pytest.mark.covers(*ids, generation=generation)(scenario)
        return marked

    return mark


covers_newer = partial(covers, generation="2.568")


class Reason(Enum):
    """Why an exchange cannot be replayed here; `applies` checks that the reason is true of the exchange."""

    FREESTYLE = "a freestyle job: the shuttle makes declarative pipelines only"
    SCRIPTED = "scripted Groovy or an input step: outside the subset that the shuttle renders"
    CONSOLE_PAGE = "Jenkins' own console page in HTML, which nobody but a browser reads"
    MULTIPART = "a log as multipart/form-data, which nobody asks for"
    RACE = "a real Jenkins answers otherwise from try to try (K-delete-recreate-race.txt)"

    def applies(self, exchange: Exchange) -> bool:
        if exchange.generation == "2.568":
            return self._applies_to_newer(exchange)
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
        return False

    def _applies_to_newer(self, exchange: Exchange) -> bool:
        match self:
            case Reason.CONSOLE_PAGE:
                return exchange.path.endswith("/console")
            case Reason.MULTIPART:
                return "multipart" in exchange.headers.get("Accept", "")
        return False


@dataclass
class LeftOut:
    reason: Reason
    ids: tuple[str, ...]


LEFT_OUT = {
    "2.263": (
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
    ),
    "2.568": (
        LeftOut(Reason.CONSOLE_PAGE, ("I-log-007",)),
        LeftOut(Reason.MULTIPART, ("I-log-003", "I-log-011", "I-log-023")),
    ),
}
