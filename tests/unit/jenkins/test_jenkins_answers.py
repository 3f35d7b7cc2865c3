"""Reading real recorded answers, and the shapes that Jenkins shows only for a moment."""

import json
from pathlib import Path

import pytest

from shuttle.errors import JenkinsUnavailableError
from shuttle.jenkins import JenkinsBuild, QueueItem, answers
from shuttle.jenkins.session import Answer

RECORDED = {
    (exchange := json.loads(line))["name"]: exchange["response"]
    for line in Path("tests/recordings/exchanges.jsonl").read_text(encoding="utf-8").splitlines()
}


def recorded(name: str) -> Answer:
    response = RECORDED[name]
    return Answer(response["status"], dict(response["headers"]), response["body"].encode())


def answer(value: object) -> Answer:
    return Answer(200, {}, json.dumps(value).encode())


@pytest.mark.parametrize(
    ("name", "item"),
    [
        (
            "C-build-013-queue_item_quiet_period",
            QueueItem(6, "In the quiet period. Expires in 4.9 sec", cancelled=False, number=None),
        ),
        (
            "D-ctl-021-queue_item_blocked_disableConcurrent_",
            QueueItem(23, "Build #1 is already in progress (ETA: N/A)", cancelled=False, number=None),
        ),
        ("C-build-021-queue_item_left", QueueItem(6, None, cancelled=False, number=4)),
        ("D-ctl-027-queue_item_cancelled", QueueItem(25, None, cancelled=True, number=None)),
        ("D-ctl-066-queue_item_after_doDelete", QueueItem(41, None, cancelled=False, number=1)),
        ("D-ctl-069-queue_item_after_doDelete_quiet", QueueItem(42, None, cancelled=True, number=None)),
    ],
)
def test_queue_items(name, item):
    read = answers.queue_item(recorded(name))
    if item.why and item.why.startswith("In the quiet period"):
        assert (read.why or "").startswith("In the quiet period")
        item = QueueItem(item.item, read.why, item.cancelled, item.number)
    assert read == item


def test_a_left_item_without_executable_is_not_cancelled():
    left = answer({"_class": "hudson.model.Queue$LeftItem", "id": 202, "cancelled": False, "executable": None})
    assert answers.queue_item(left) == QueueItem(202, None, cancelled=False, number=None)
    assert answers.has_left_queue(left)


def test_builds_running_and_finished():
    assert answers.build(recorded("C-build-029-build_running")) == JenkinsBuild(
        4, building=True, result=None, queue_item=6
    )
    assert answers.build(recorded("C-build-030-build_done")) == JenkinsBuild(4, False, "SUCCESS", 6)
    assert answers.build(recorded("D-ctl-004-after_stop_build_c1")).result == "ABORTED"
    assert answers.build(recorded("E-misc-038-punst_build")).result == "UNSTABLE"
    assert answers.build(recorded("E-misc-044-pnotbuilt_build")).result == "NOT_BUILT"


def test_a_result_counts_only_at_the_end():
    in_its_post_section = answer({"number": 3, "building": True, "result": "FAILURE", "queueId": 9})
    assert answers.build(in_its_post_section) == JenkinsBuild(3, building=True, result=None, queue_item=9)
    without_result = answer({"number": 3, "building": False, "result": None, "queueId": -1})
    assert answers.build(without_result) == JenkinsBuild(3, building=True, result=None, queue_item=None)


def test_the_queue_by_marker_without_what_is_not_ours():
    listing = answers.waiting_by_marker(recorded("L-shuttle-004-queue_tree"))
    why = "Build #1 is already in progress (ETA: N/A)"
    assert listing == {"22222222-2222-4222-8222-222222222222": QueueItem(216, why, cancelled=False, number=None)}
    assert answers.waiting_by_marker(recorded("D-ctl-039-queue_executors_exhausted")) == {}
    assert answers.waiting_by_marker(recorded("D-ctl-067-queue_after")) == {}


def test_of_two_items_with_one_marker_the_older_counts():
    actions = [{}, None, {"parameters": [{"name": "BUILD_UUID", "value": "u1"}]}]
    listing = answers.waiting_by_marker(answer({"items": [{"id": n, "actions": actions} for n in (7, 5, 6)]}))
    assert listing["u1"].item == 5


def test_builds_by_marker_among_empty_actions():
    page = recorded("L-shuttle-006-marker_tree_range")
    assert answers.builds_with_marker(page, "11111111-1111-4111-8111-111111111111") == (
        1,
        [JenkinsBuild(1, building=True, result=None, queue_item=215)],
    )
    assert answers.builds_with_marker(page, "nobody") == (1, [])


@pytest.mark.parametrize(
    ("name", "item"),
    [
        ("C-build-012-bwp_query", 6),
        ("E-misc-001-bwp_Host_header", 45),
        ("E-misc-002-bwp_X-Forwarded", 46),
        ("C-build-007-build_on_parameterized_job_json", None),
    ],
)
def test_the_item_of_a_location(name, item):
    assert answers.queued_item(recorded(name)) == item


def test_who_we_are():
    assert answers.identity(recorded("L-shuttle-014-whoAmI")) == answers.Identity(name="admin", anonymous=False)


@pytest.mark.parametrize("number", [2**63, 10**30])
def test_numbers_that_no_database_holds_are_not_jenkins(number):
    with pytest.raises(JenkinsUnavailableError, match="in Jenkins' place"):
        answers.build(answer({"number": number, "building": True}))
    with pytest.raises(JenkinsUnavailableError, match="in Jenkins' place"):
        answers.queue_item(answer({"id": 1, "executable": {"number": number}}))
    with pytest.raises(JenkinsUnavailableError, match="in Jenkins' place"):
        answers.waiting_by_marker(answer({"items": [{"id": number}]}))
    assert answers.queued_item(Answer(201, {"Location": f"http://x/queue/item/{number}/"}, b"")) is None
