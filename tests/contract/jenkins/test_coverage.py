"""Every recorded exchange is replayed by a named scenario or left out for a reason that is true of it."""

import importlib
from collections import Counter
from pathlib import Path

from tests.contract.jenkins.coverage import LEFT_OUT, SCENARIOS, Reason
from tests.contract.jenkins.exchanges import exchanges


def load_scenarios() -> None:
    for file in sorted(Path(__file__).parent.glob("test_*_scenarios.py")):
        importlib.import_module(f"tests.contract.jenkins.{file.stem}")


def test_every_exchange_is_covered_once_or_left_out_once():
    load_scenarios()
    listed = Counter(exchange for ids in SCENARIOS.values() for exchange in ids)
    listed.update(exchange for entry in LEFT_OUT for exchange in entry.ids)
    assert len(exchanges()) == 283
    assert exchanges().keys() - listed.keys() == set(), "nobody replays these"
    assert listed.keys() - exchanges().keys() == set(), "these were never recorded"
    assert {exchange for exchange, times in listed.items() if times > 1} == set(), "listed twice"


def test_exactly_what_cannot_be_replayed_is_left_out():
    reasons = {exchange: entry.reason for entry in LEFT_OUT for exchange in entry.ids}
    true_of = {
        exchange.id: reason for exchange in exchanges().values() for reason in Reason if reason.applies(exchange)
    }
    assert true_of == reasons
