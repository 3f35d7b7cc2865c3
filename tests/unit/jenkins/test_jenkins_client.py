"""The client's results for Jenkins' answers: trigger, cancel, find by marker, check."""

import asyncio
import re

import pytest
from aiohttp import web

from shuttle.errors import JenkinsNotFoundError, JenkinsRefusedError, JenkinsUnavailableError, JobNotReadyError
from shuttle.jenkins.budget import PollBudget
from tests.unit.jenkins.fake_jenkins import ERROR_PAGE, Behaviour, Clock, answers, answers_json, resets
from tests.unit.jenkins.recorded import recorded_2568


async def test_a_trigger_whose_answer_is_lost_is_unavailable_and_not_repeated(fake, connect):
    fake.on("POST", "/job/app/buildWithParameters", resets, answers(201, Location="http://x/queue/item/7/"))
    with pytest.raises(JenkinsUnavailableError):
        await connect().trigger("app", {"BUILD_UUID": "u1"})
    assert len(fake.asked("POST", "/job/app/buildWithParameters")) == 1


@pytest.mark.parametrize("location", ["", "http://x/job/app/", "http://x/queue/item/", "http://x/queue/item/7/evil"])
async def test_201_without_a_valid_location_is_unavailable(fake, connect, location):
    fake.on("POST", "/", answers(201, Location=location))
    with pytest.raises(JenkinsUnavailableError):
        await connect().trigger("app", {})


@pytest.mark.parametrize("status", [201, 303])
@pytest.mark.parametrize("location", ["https://ci.example.com:8443/jenkins/queue/item/42/", "/queue/item/42"])
async def test_a_trigger_reads_the_item_from_the_location_and_ignores_its_host(fake, connect, status, location):
    fake.on("POST", "/", answers(status, Location=location))
    assert await connect().trigger("folder/app", {"BUILD_UUID": "u 1", "SHUTTLE_TOKEN": "s&cret"}) == 42
    [seen] = fake.asked("POST", "/")
    assert seen.path_qs == "/job/folder/job/app/buildWithParameters?delay=0sec"
    assert seen.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert seen.body == b"BUILD_UUID=u+1&SHUTTLE_TOKEN=s%26cret"


@pytest.mark.parametrize(("status", "says"), [(409, "disabled"), (400, "parameters")])
async def test_a_refused_trigger_means_job_not_ready(fake, connect, status, says):
    fake.on("POST", "/", answers(status, ERROR_PAGE))
    with pytest.raises(JobNotReadyError, match=says):
        await connect().trigger("app", {})


async def test_500_for_a_job_without_parameters_means_job_not_ready(fake, connect):
    fake.on("POST", "/", answers(500, ERROR_PAGE))
    fake.on("GET", "/job/app/api/json", answers_json({"name": "app", "property": [{}, None]}))
    with pytest.raises(JobNotReadyError):
        await connect().trigger("app", {})


async def test_500_for_a_job_with_its_parameters_is_unavailable(fake, connect):
    fake.on("POST", "/", answers(500, ERROR_PAGE))
    parameters = [{"parameterDefinitions": [{"name": "BUILD_UUID"}]}]
    fake.on("GET", "/job/app/api/json", answers_json({"name": "app", "property": parameters}))
    with pytest.raises(JenkinsUnavailableError):
        await connect().trigger("app", {})


def item_of(build_uuid: str, kind: str = "WaitingItem", **shown: object) -> Behaviour:
    marker = {"parameters": [{"name": "BUILD_UUID", "value": build_uuid}]}
    return answers_json({"_class": f"hudson.model.Queue${kind}", "id": 5, "actions": [{}, marker], **shown})


@pytest.mark.parametrize("left", [{"executable": {"number": 1}}, {"cancelled": True}, {"executable": None}])
async def test_cancelling_an_item_that_left_succeeds(fake, connect, left):
    """It may leave between the look and the command."""
    fake.on("POST", "/queue/cancelItem", answers(500, ERROR_PAGE))
    fake.on("GET", "/queue/item/5/api/json", item_of("u1"), item_of("u1", "LeftItem", **left))
    client = connect()
    for _ in range(2):
        await client.cancel(5, "u1")
    assert len(fake.asked("POST", "/")) == 1


@pytest.mark.parametrize("other", [item_of("u2"), answers_json({"_class": "hudson.model.Queue$WaitingItem", "id": 5})])
async def test_an_item_of_another_build_is_not_cancelled(fake, connect, other):
    fake.on("GET", "/queue/item/5/api/json", other)
    await connect().cancel(5, "u1")
    assert fake.asked("POST", "/") == []


async def test_cancelling_fails_if_the_item_still_waits(fake, connect):
    fake.on("POST", "/queue/cancelItem", answers(500, ERROR_PAGE))
    fake.on("GET", "/queue/item/5/api/json", item_of("u1"))
    with pytest.raises(JenkinsUnavailableError):
        await connect().cancel(5, "u1")


async def test_cancelling_without_permission_names_the_permission(fake, connect):
    fake.on("POST", "/queue/cancelItem", answers(422, ERROR_PAGE))
    fake.on("GET", "/queue/item/5/api/json", item_of("u1"))
    with pytest.raises(JenkinsRefusedError, match="lacks the permission Job/Cancel"):
        await connect().cancel(5, "u1")


def page_of(request: web.Request, marked: dict[int, str], newest: int) -> list[dict[str, object]]:
    """The builds in the answer to a request for `allBuilds[…]{from,to}`, newest first."""
    begin, end = map(int, re.findall(r"\{(\d+),(\d+)\}", request.query["tree"])[0])
    return [
        {
            "number": number,
            "building": False,
            "result": "SUCCESS",
            "queueId": number + 1000,
            "actions": [
                {},
                {"parameters": [{"name": "BUILD_UUID", "value": marked.get(number, f"other {number}")}]},
                {},
            ],
        }
        for number in range(newest, 0, -1)[begin:end]
    ]


@pytest.mark.parametrize(
    ("marked", "newest", "number", "pages"),
    [
        ({150: "u1"}, 150, 150, 2),
        ({30: "u1"}, 250, 30, 3),
        ({40: "u1", 249: "u1", 33: "u1"}, 250, 33, 3),
        ({}, 250, None, 3),
        ({}, 0, None, 1),
        ({1: "u1"}, 5000, None, 10),
    ],
    ids=["newest", "on a later page", "replayed twice", "nowhere", "no builds", "too long ago"],
)
async def test_a_marker_is_found_on_any_page_and_the_first_build_with_it_is_returned(
    fake, connect, marked, newest, number, pages
):
    async def list_builds(request: web.Request) -> web.StreamResponse:
        return web.json_response({"allBuilds": page_of(request, marked, newest)})

    fake.on("GET", "/job/app/api/json", list_builds)
    found = await connect().find_build("app", "u1")
    assert (found and found.number) == number
    assert len(fake.asked("GET", "/job/app/api/json")) == pages


async def test_job_names_cannot_reach_other_paths(fake, connect):
    with pytest.raises(JenkinsNotFoundError):
        await connect().build("a?b#c d%2e", 3)
    assert fake.seen[0].path_qs.startswith("/job/a%3Fb%23c%20d%252e/3/api/json?tree=")


async def test_check_passes_without_creating_anything(fake, connect):
    fake.on("GET", "/whoAmI/api/json", answers_json({"name": "ci", "anonymous": False}))
    fake.on("POST", "/createItem", answers(400, ERROR_PAGE, **{"X-Error": "Query parameter 'name' is required"}))
    await connect().check()
    assert fake.asked("POST", "/createItem")[0].path_qs == "/createItem"


async def test_check_does_not_wait_for_the_lease_because_it_changes_nothing(fake, connect):
    """Before, all controllers counted as unreachable while PostgreSQL was away."""
    fake.on("GET", "/whoAmI/api/json", answers_json({"name": "ci", "anonymous": False}))
    fake.on("POST", "/createItem", answers(400, ERROR_PAGE, **{"X-Error": "Query parameter 'name' is required"}))
    async with asyncio.timeout(5):
        await connect(before_command=asyncio.Event().wait).check()


async def test_check_names_the_permission_that_a_recent_command_lacked(fake, connect):
    fake.on("GET", "/whoAmI/api/json", answers_json({"name": "ci", "anonymous": False}))
    fake.on("POST", "/createItem", answers(400))
    forbidden = answers(403, ERROR_PAGE, **{"X-Required-Permission": "hudson.model.Item.Cancel"})
    fake.on("POST", "/job/app/1/stop", forbidden, answers(302), forbidden)
    clock = Clock()
    client = connect(clock=clock)
    message = "Jenkins refused to stop build 1 of app: the user in JENKINS_URL lacks the permission Job/Cancel."
    for ends in ("a success", "time"):
        with pytest.raises(JenkinsRefusedError):
            await client.stop("app", 1, "stop")
        with pytest.raises(JenkinsRefusedError) as caught:
            await client.check()
        assert caught.value.message == message
        if ends == "a success":
            await client.stop("app", 1, "stop")
        else:
            clock.seconds += 600
        await client.check()


async def test_check_passes_without_the_permission_to_describe(fake, connect):
    fake.on("GET", "/whoAmI/api/json", answers_json({"name": "ci", "anonymous": False}))
    fake.on("POST", "/createItem", answers(400))
    update = {"X-Required-Permission": "hudson.model.Run.Update"}
    fake.on("POST", "/job/app/1/submitDescription", answers(403, ERROR_PAGE, **update))
    client = connect()
    with pytest.raises(JenkinsRefusedError, match="lacks the permission Run/Update"):
        await client.describe("app", 1, "text")
    await client.check()


async def test_waiting_builds_and_waiting_nodes_share_one_request(fake, connect):
    fake.on("GET", "/queue/api/json", answers(200, recorded_2568("F-queue-004-the_queue_listing_then").body))
    client = connect(queue_fresh_seconds=60)
    assert await client.waiting() == {}
    assert (await client.waiting_nodes())["lab", 1].why == "There are no nodes with the label \u2018nowhere\u2019"
    assert len(fake.asked("GET", "/queue/")) == 1


async def test_console_tail_reads_the_end_of_a_console_of_any_length(fake, connect):
    head = b"Started by user ci\n" + b"one of very many lines\n" * 100_000
    fake.on("GET", "/job/app/1/consoleText", answers(200, head + b"ERROR: no space\nFinished: FAILURE\n"))
    shown = await connect().console_tail("app", 1, limit_bytes=80)
    assert shown == b"one of very many lines\nERROR: no space\n"


async def test_a_query_waits_ten_seconds_for_data_and_a_command_longer(connect):
    session = connect()._session
    assert session._query_timeout.sock_read == 10
    assert session._command_timeout.sock_read is None


@pytest.mark.parametrize("folder_exists", [True, False])
async def test_check_tries_the_permission_in_the_folder_of_the_jobs(fake, connect, folder_exists):
    fake.on("GET", "/whoAmI/api/json", answers_json({"name": "ci", "anonymous": False}))
    forbidden = answers(403, ERROR_PAGE, **{"X-Required-Permission": "hudson.model.Item.Create"})
    fake.on("POST", "/createItem", forbidden if folder_exists else answers(400))
    fake.on("POST", "/job/ci/job/builds/createItem", answers(400 if folder_exists else 404))
    await connect(folder="ci/builds").check()


async def test_check_fails_if_jenkins_ignores_the_user(fake, connect):
    fake.on("GET", "/whoAmI/api/json", answers_json({"name": "anonymous", "anonymous": True}))
    with pytest.raises(JenkinsRefusedError):
        await connect().check()


async def test_close_is_idempotent(connect):
    client = connect()
    await client.close()
    await client.close()


async def test_requests_are_measured_by_kind(fake, connect):
    measured: list[tuple[str, float]] = []
    fake.on("GET", "/queue/api/json", answers_json({"items": []}))
    client = connect(observe=lambda *request: measured.append(request))
    await client.waiting()
    with pytest.raises(JenkinsNotFoundError):
        await client.build("app", 1)
    assert [kind for kind, _ in measured] == ["queue", "build", "health"]
    assert all(0 < seconds < 30 for _, seconds in measured)


async def test_polls_wait_for_their_budget_and_commands_do_not(fake, connect):
    fake.on("GET", "/queue/item/5/api/json", fake.hang)
    fake.on("POST", "/", answers(302))
    client = connect(budget=PollBudget(1000, concurrent=1))
    held = asyncio.create_task(client.queue_item(5, "u1"))
    await fake.was_asked("GET", "/queue/item/5")
    waits = asyncio.create_task(client.queue_item(5, "u1"))
    await client.stop("app", 1, "stop")
    assert len(fake.asked("GET", "/queue/item/5")) == 1
    for task in (held, waits):
        task.cancel()
    await asyncio.wait([held, waits])
