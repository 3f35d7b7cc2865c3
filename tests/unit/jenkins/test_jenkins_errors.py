"""The client's errors for a failing Jenkins. A POST is sent once."""

from collections.abc import Awaitable, Callable

import pytest

from shuttle.errors import JenkinsNotFoundError, JenkinsRefusedError, JenkinsUnavailableError
from shuttle.jenkins import StopCommand
from shuttle.jenkins.client import JenkinsClient
from tests.unit.jenkins.fake_jenkins import (
    ERROR_PAGE,
    HEALTHY,
    Clock,
    FakeJenkins,
    answers,
    cut_off,
    garbles,
    resets,
)

Call = Callable[[JenkinsClient], Awaitable[object]]


QUERIES: dict[str, Call] = {
    "console_tail": lambda client: client.console_tail("app", 1),
    "waiting_nodes": lambda client: client.waiting_nodes(),
    "waiting": lambda client: client.waiting(),
    "queue_item": lambda client: client.queue_item(5, "u1"),
    "find_build": lambda client: client.find_build("app", "u1"),
    "build": lambda client: client.build("app", 1),
    "check": lambda client: client.check(),
    "apply_job": lambda client: client.apply_job("app", b"<flow-definition/>", "sha256:" + "0" * 64),
}
COMMANDS: dict[str, Call] = {
    "trigger": lambda client: client.trigger("app", {"BUILD_UUID": "u1"}),
    "cancel": lambda client: client.cancel(5, "u1"),
    "stop": lambda client: client.stop("app", 1, StopCommand.STOP),
    "describe": lambda client: client.describe("app", 1, "text"),
}
JSON_QUERIES = {name: call for name, call in QUERIES.items() if name != "console_tail"}
queries = pytest.mark.parametrize("call", QUERIES.values(), ids=QUERIES.keys())
commands = pytest.mark.parametrize("call", COMMANDS.values(), ids=COMMANDS.keys())
everything = pytest.mark.parametrize("call", (QUERIES | COMMANDS).values(), ids=(QUERIES | COMMANDS).keys())


@everything
@pytest.mark.parametrize("status", [500, 502, 503])
async def test_a_5xx_is_unavailable_and_a_post_is_not_repeated(fake, connect, call, status):
    fake.on("GET", "/", answers(status, ERROR_PAGE))
    fake.on("POST", "/", answers(status, ERROR_PAGE))
    with pytest.raises(JenkinsUnavailableError):
        await call(connect())
    assert len(fake.asked("POST", "/")) <= 1


@everything
async def test_a_reset_is_unavailable_and_a_post_is_not_repeated(fake, connect, call):
    fake.on("GET", "/", resets)
    fake.on("POST", "/", resets)
    with pytest.raises(JenkinsUnavailableError):
        await call(connect())
    assert len(fake.asked("POST", "/")) <= 1


@everything
async def test_an_answer_that_is_not_http_is_unavailable(fake, connect, call):
    fake.on("GET", "/", garbles)
    fake.on("POST", "/", garbles)
    with pytest.raises(JenkinsUnavailableError) as caught:
        await call(connect())
    assert caught.value.__cause__ is None, "aiohttp's error holds the request with its Authorization header"
    assert len(fake.asked("POST", "/")) <= 1


@everything
async def test_a_missing_answer_times_out(fake, connect, call):
    fake.on("GET", "/", fake.hang)
    fake.on("POST", "/", fake.hang)
    with pytest.raises(JenkinsUnavailableError, match="timed out"):
        await call(connect(request_timeout_seconds=0.05, console_idle_timeout_seconds=0.05))
    assert len(fake.asked("POST", "/")) <= 1


@everything
async def test_the_error_of_a_refused_connection_is_a_sentence(connect, call, unused_tcp_port):
    with pytest.raises(
        JenkinsUnavailableError, match=r"^Jenkins is out of reach: cannot connect \(Connection refused\)\.$"
    ):
        await call(connect(f"http://127.0.0.1:{unused_tcp_port}/"))


@pytest.mark.parametrize("call", JSON_QUERIES.values(), ids=JSON_QUERIES.keys())
@pytest.mark.parametrize("body", [b"", ERROR_PAGE, b"[]", b'{"items":[{}]}', b'{"_class":"x","number":"many"}'])
async def test_200_without_jenkins_json_is_unavailable(fake, connect, call, body):
    fake.on("GET", "/", answers(200, body, **HEALTHY))
    with pytest.raises(JenkinsUnavailableError):
        await call(connect())


@queries
async def test_an_answer_that_is_cut_off_is_unavailable(fake, connect, call):
    fake.on("GET", "/", cut_off({"Content-Length": "500", "X-Text-Size": "500", **HEALTHY}, b'{"items":'))
    with pytest.raises(JenkinsUnavailableError, match="cut off"):
        await call(connect())


@everything
async def test_a_steady_401_asks_for_correct_credentials(fake, connect, call):
    fake.on("GET", "/", answers(401, ERROR_PAGE))
    fake.on("POST", "/", answers(401, ERROR_PAGE))
    clock = Clock()
    client = connect(clock=clock)
    with pytest.raises(JenkinsUnavailableError, match="still starting"):
        await call(client)
    clock.seconds += 10
    with pytest.raises(JenkinsRefusedError, match="JENKINS_URL"):
        await call(client)


@everything
async def test_403_names_the_missing_permission(fake, connect, call):
    refusal = answers(403, ERROR_PAGE, **{"X-Required-Permission": "hudson.model.Item.Build"})
    fake.on("GET", "/", refusal)
    fake.on("POST", "/", refusal)
    with pytest.raises(JenkinsRefusedError, match=r"lacks the permission Job/Build\.") as caught:
        await call(connect())
    assert caught.value.permission == "Job/Build"


@everything
async def test_a_redirect_is_not_followed(fake, connect, call):
    fake.on("GET", "/", answers(301, Location="https://elsewhere.example/"))
    fake.on("POST", "/", answers(301, Location="https://elsewhere.example/"))
    with pytest.raises(JenkinsUnavailableError, match="with a redirect"):
        await call(connect())


GONE_NAMES = {"queue_item", "build", "console_tail", "describe"}
GONE: dict[str, Call] = {name: call for name, call in (QUERIES | COMMANDS).items() if name in GONE_NAMES} | {
    "trigger": COMMANDS["trigger"]
}


@pytest.mark.parametrize("call", GONE.values(), ids=GONE.keys())
async def test_404_from_a_healthy_jenkins_means_not_found(connect, call):
    with pytest.raises(JenkinsNotFoundError):
        await call(connect())


MISSING_IS_FINE: dict[str, Call] = {
    "find_build": QUERIES["find_build"],
    "cancel": COMMANDS["cancel"],
    "stop": COMMANDS["stop"],
    "delete_job": lambda client: client.delete_job("app"),
}


@pytest.mark.parametrize("call", MISSING_IS_FINE.values(), ids=MISSING_IS_FINE.keys())
async def test_removing_something_that_a_healthy_jenkins_lacks_succeeds(connect, call):
    assert await call(connect()) is None


@pytest.mark.parametrize("call", (GONE | MISSING_IS_FINE).values(), ids=(GONE | MISSING_IS_FINE).keys())
@pytest.mark.parametrize("instead", [answers(404, ERROR_PAGE), answers(503), answers(200, b"{}")])
async def test_404_from_a_server_that_is_not_jenkins_is_unavailable(fake: FakeJenkins, connect, call, instead):
    fake.on("GET", "/api/json", instead)
    with pytest.raises(JenkinsUnavailableError):
        await call(connect())
