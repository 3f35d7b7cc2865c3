"""Tests of the comparison: a recorded response equals itself, and every change of meaning is noticed."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.contract.jenkins.exchanges import FILES, Exchange, exchanges
from tests.contract.jenkins.meaning import Comparison, Matches
from tests.support.answer import Answer


def differences(
    exchange: Exchange, status: int, headers: Mapping[str, str], body: str, size: int | None = None
) -> list[Any]:
    comparison = Comparison("http://127.0.0.1:18080", "", Matches())
    padded = body.encode().ljust(exchange.answer_bytes if size is None else size)
    answer = Answer(status, headers, body.encode() if "json" in headers.get("content-type", "") else padded)
    return list(comparison.differences(exchange, exchange.query or exchange.body, answer))


@pytest.mark.parametrize(("generation", "name"), [(each, name) for each in FILES for name in exchanges(each)])
def test_recorded_response_equals_itself(generation, name):
    recorded = exchanges(generation)[name]
    assert differences(recorded, recorded.status, recorded.answer_headers, recorded.answer_body) == []


CHANGES = [
    ("C-build-024", {"x-more-data": None}, "", ""),
    ("C-build-032", {"x-more-data": "true"}, "", ""),
    ("C-build-024", {"x-text-size": "505"}, "", ""),
    ("C-build-025", {"x-text-size": "3289"}, "", ""),
    ("C-build-012", {"location": "http://127.0.0.1:18080/job/c1/"}, "", ""),
    ("C-build-012", {"location": "http://other.example/queue/item/6/"}, "", ""),
    ("B-sec-020", {"x-error": "No"}, "", ""),
    ("B-sec-022", {"x-required-permission": "hudson.model.Item.Build"}, "", ""),
    ("B-sec-042", {"x-jenkins": "2.263.4"}, "", ""),
    ("B-sec-042", {"content-type": "application/json"}, "", ""),
    ("C-build-029", {}, '"building":true', '"building":false'),
    ("C-build-030", {}, '"result":"SUCCESS"', '"result":"FAILURE"'),
    ("C-build-030", {}, '"queueId":6', '"queue":6'),
    ("C-build-013", {}, "In the quiet period", "Waiting"),
    ("C-build-013", {}, "alice & b", "alice"),
    ("D-ctl-027", {}, '"cancelled":true', '"cancelled":false'),
    ("D-ctl-021", {}, "$BlockedItem", "$WaitingItem"),
    ("L-shuttle-005", {}, '"name":"SHUTTLE_TOKEN"', '"name":"SHUTTLE_TOKEN","value":"tok-en-1"'),
    ("B-sec-038", {}, '"name":"WHO"', '"name":"HOW"'),
]


@pytest.mark.parametrize(("name", "headers", "before", "after"), CHANGES)
def test_change_of_meaning_is_noticed(name, headers, before, after):
    recorded = exchanges()[name]
    changed = {key: value for key, value in (recorded.answer_headers | headers).items() if value is not None}
    assert before in recorded.answer_body
    assert differences(recorded, recorded.status, changed, recorded.answer_body.replace(before, after)) != []


def test_another_status_is_noticed():
    recorded = exchanges()["C-build-012"]
    assert differences(recorded, 200, recorded.answer_headers, "") != []


def test_number_is_mapped_to_one_recorded_number():
    matches = Matches()
    assert matches.same("item", 6, 1)
    assert matches.same("item", 6, 1)
    assert not matches.same("item", 6, 2), "a coalesced trigger must be the same item here"
    assert not matches.same("item", 7, 1), "another trigger must be another item here"


def test_own_item_that_should_have_left_the_queue_is_noticed():
    recorded = exchanges()["D-ctl-067"]
    still_there = recorded.answer_body.replace('"items":[]', '"items":[{"id":8}]')
    matches = Matches({("item", 41): 8})
    answer = Answer(200, recorded.answer_headers, still_there.encode())
    assert list(Comparison("http://127.0.0.1:18080", "", matches).differences(recorded, "", answer)) != []
