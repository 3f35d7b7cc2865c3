"""Parsing recorded answers, and answers that Jenkins gives only for a moment."""

import json

import pytest

from shuttle.errors import JenkinsNotFoundError, JenkinsUnavailableError
from shuttle.jenkins import JenkinsBuild, QueueItem, answers
from shuttle.jenkins.queue import Listing
from shuttle.jenkins.session import JenkinsResponse
from tests.unit.jenkins.recorded import recorded, recorded_2568


def answer(value: object) -> JenkinsResponse:
    return JenkinsResponse(200, {}, json.dumps(value).encode())


def with_marker(item: JenkinsResponse, value: str) -> JenkinsResponse:
    """A recorded queue item as if the parameter WHO of its job were the marker."""
    shown = json.loads(item.body)
    [who] = [each for action in shown["actions"] for each in action.get("parameters", []) if each["name"] == "WHO"]
    who |= {"name": "BUILD_UUID", "value": value}
    return answer(shown)


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
def test_recorded_queue_items_are_read(name, item):
    read = answers.queue_item(with_marker(recorded(name), "u1"), "u1")
    if item.why and item.why.startswith("In the quiet period"):
        assert (read.why or "").startswith("In the quiet period")
        item = QueueItem(item.item, read.why, item.cancelled, item.number)
    assert read == item


def test_a_left_item_without_executable_is_not_cancelled():
    marker = {"parameters": [{"name": "BUILD_UUID", "value": "u1"}]}
    item = {"id": 202, "cancelled": False, "executable": None, "actions": [marker]}
    left = answer({"_class": "hudson.model.Queue$LeftItem", **item})
    assert answers.queue_item(left, "u1") == QueueItem(202, None, cancelled=False, number=None)
    assert answers.has_left_queue(left, "u1")


@pytest.mark.parametrize(
    "item",
    [
        with_marker(recorded("C-build-013-queue_item_quiet_period"), "u2"),
        with_marker(recorded("C-build-021-queue_item_left"), "u2"),
        recorded("C-build-021-queue_item_left"),
        answer(json.loads(recorded("D-ctl-039-queue_executors_exhausted").body)["items"][0]),
        recorded_2568("J-restart-001-item_of_the_node_step_before_the_restart"),
    ],
    ids=["another build, waiting", "another build, left", "a job of others", "a node step", "a node step, left"],
)
def test_a_queue_item_without_the_marker_of_the_build_is_not_found(item):
    """A Jenkins that was killed gives numbers of queue items again."""
    for read in (answers.queue_item, answers.has_left_queue):
        with pytest.raises(JenkinsNotFoundError):
            read(item, "u1")


def test_running_and_finished_builds_are_read():
    assert answers.build(recorded("C-build-029-build_running")) == JenkinsBuild(
        4, building=True, result=None, queue_item=6
    )
    assert answers.build(recorded("C-build-030-build_done")) == JenkinsBuild(4, False, "SUCCESS", 6)
    assert answers.build(recorded("D-ctl-004-after_stop_build_c1")).result == "ABORTED"
    assert answers.build(recorded("E-misc-038-punst_build")).result == "UNSTABLE"
    assert answers.build(recorded("E-misc-044-pnotbuilt_build")).result == "NOT_BUILT"


def test_a_result_counts_only_once_the_build_has_ended():
    in_its_post_section = answer({"number": 3, "building": True, "result": "FAILURE", "queueId": 9})
    assert answers.build(in_its_post_section) == JenkinsBuild(3, building=True, result=None, queue_item=9)
    without_result = answer({"number": 3, "building": False, "result": None, "queueId": -1})
    assert answers.build(without_result) == JenkinsBuild(3, building=True, result=None, queue_item=None)


def test_the_queue_listing_has_only_items_with_a_marker():
    listing = answers.queue_listing(recorded("L-shuttle-004-queue_tree")).marked
    why = "Build #1 is already in progress (ETA: N/A)"
    item = QueueItem(216, why, cancelled=False, number=None, blocked=True)
    assert listing == {"22222222-2222-4222-8222-222222222222": item}
    assert answers.queue_listing(recorded("D-ctl-039-queue_executors_exhausted")) == Listing()
    assert answers.queue_listing(recorded("D-ctl-067-queue_after")).marked == {}


def test_a_waiting_node_step_is_listed_by_job_and_build_number():
    listing = answers.queue_listing(recorded_2568("F-queue-004-the_queue_listing_then"))
    why = "There are no nodes with the label \u2018nowhere\u2019"
    assert listing == Listing({}, {("lab", 1): QueueItem(11, why, cancelled=False, number=None)})


@pytest.mark.parametrize(
    ("url", "build"),
    [
        ("job/ci/job/team%20a/job/app/12/", ("ci/team a/app", 12)),
        ("https://ci.example.com/jenkins/job/app/3/", ("app", 3)),
        ("job/app/", None),
        ("", None),
    ],
)
def test_the_build_of_a_node_step_is_read_from_its_url(url, build):
    kind = "org.jenkinsci.plugins.workflow.support.steps.ExecutorStepExecution$PlaceholderTask"
    items = [{"id": 4, "why": "busy", "task": {"_class": kind, "url": url}}]
    assert list(answers.queue_listing(answer({"items": items})).nodes) == ([build] if build else [])


def test_reason_of_an_item_can_be_stored_by_any_database():
    item = {"id": 4, "why": "no \0 agent", "actions": [{"parameters": [{"name": "BUILD_UUID", "value": "u"}]}]}
    assert answers.queue_item(answer(item), "u").why == "no \ufffd agent"


def test_header_that_is_not_utf_8_gives_an_error_that_can_be_stored():
    """aiohttp and `requests` decode such a header with lone surrogates."""
    error = answers.failure_of(500, None, b"caf\xe9".decode(errors="surrogateescape"), "start a build")
    assert error.message == "Jenkins answered 500 (caf\ufffd) when asked to start a build."
    assert str(error) == error.message


def test_the_older_of_two_waiting_branches_is_listed():
    task = {"_class": "x.ExecutorStepExecution$PlaceholderTask", "url": "job/app/3/"}
    listing = answers.queue_listing(answer({"items": [{"id": n, "task": task} for n in (7, 5, 6)]}))
    assert listing.nodes["app", 3].item == 5


GHOST = {"number": 1, "building": True, "result": None, "inProgress": False, "duration": 0, "executor": None}


def test_a_running_build_without_executor_and_duration_is_a_ghost():
    assert answers.build(answer(GHOST)).ghost


@pytest.mark.parametrize(
    "changed",
    [
        {"inProgress": True},
        {"inProgress": None},
        {"executor": {"number": -1}},
        {"duration": 17},
        {"building": False, "result": "ABORTED"},
    ],
)
def test_a_build_that_differs_from_a_ghost_in_one_field_is_no_ghost(changed):
    assert not answers.build(answer(GHOST | changed)).ghost


def test_a_build_without_the_executor_field_is_no_ghost():
    assert not answers.build(answer({name: GHOST[name] for name in GHOST if name != "executor"})).ghost


@pytest.mark.parametrize("name", ["C-build-022-build_just_started", "C-build-029-build_running"])
def test_recorded_running_builds_of_an_older_jenkins_are_no_ghosts(name):
    assert not answers.build(recorded(name)).ghost


@pytest.mark.parametrize("name", ["D-builds-001-build_running_whole", "F-queue-003-its_build"])
def test_recorded_running_builds_are_no_ghosts(name):
    read = answers.build(recorded_2568(name))
    assert read.building
    assert not read.ghost


def test_the_older_of_two_items_with_one_marker_is_listed():
    actions = [{}, None, {"parameters": [{"name": "BUILD_UUID", "value": "u1"}]}]
    listing = answers.queue_listing(answer({"items": [{"id": n, "actions": actions} for n in (7, 5, 6)]}))
    assert listing.marked["u1"].item == 5


def test_builds_are_found_by_marker_among_empty_actions():
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
def test_the_queue_item_is_read_from_the_location(name, item):
    assert answers.queued_item(recorded(name)) == item


def test_the_identity_is_read_from_who_am_i():
    assert answers.identity(recorded("L-shuttle-014-whoAmI")) == answers.Identity(name="admin", anonymous=False)


@pytest.mark.parametrize("number", [2**63, 10**30])
def test_numbers_too_large_for_the_database_are_refused(number):
    with pytest.raises(JenkinsUnavailableError, match="like Jenkins"):
        answers.build(answer({"number": number, "building": True}))
    with pytest.raises(JenkinsUnavailableError, match="like Jenkins"):
        answers.queue_item(answer({"id": 1, "executable": {"number": number}}), "u1")
    with pytest.raises(JenkinsUnavailableError, match="like Jenkins"):
        answers.queue_listing(answer({"items": [{"id": number}]}))
    assert answers.queued_item(JenkinsResponse(201, {"Location": f"http://x/queue/item/{number}/"}, b"")) is None
