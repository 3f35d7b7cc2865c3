"""Every recorded exchange is replayed by a named scenario or left out for a reason that is true of it."""

import importlib
from collections import Counter
from pathlib import Path

import pytest

from tests.contract.jenkins.coverage import LEFT_OUT, SCENARIOS, Reason
from tests.contract.jenkins.exchanges import FILES, exchanges


def load_scenarios() -> None:
    for file in sorted(Path(__file__).parent.glob("test_*_scenarios.py")):
        importlib.import_module(f"tests.contract.jenkins.{file.stem}")


@pytest.mark.parametrize(("generation", "count"), [("2.263", 283), ("2.568", 204)])
def test_every_exchange_is_covered_once_or_left_out_once(generation, count):
    load_scenarios()
    recorded = exchanges(generation)
    listed = Counter(exchange for ids in SCENARIOS[generation].values() for exchange in ids)
    listed.update(exchange for entry in LEFT_OUT[generation] for exchange in entry.ids)
    assert len(recorded) == count
    assert recorded.keys() - listed.keys() == set(), "nobody replays these"
    assert listed.keys() - recorded.keys() == set(), "these were never recorded"
    assert {exchange for exchange, times in listed.items() if times > 1} == set(), "listed twice"


@pytest.mark.parametrize("generation", FILES)
def test_only_exchanges_that_cannot_be_replayed_are_left_out(generation):
    reasons = {exchange: entry.reason for entry in LEFT_OUT[generation] for exchange in entry.ids}
    recorded = exchanges(generation).values()
    assert {exchange.id: reason for exchange in recorded for reason in Reason if reason.applies(exchange)} == reasons
