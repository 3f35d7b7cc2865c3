"""The call to the CI system that is to resume a record: `orchestration_config.trigger_webhook`."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from tests.contract.state.conftest import CONTROLLER
from tests.contract.state.test_state_resume import BUILDS, failed_build, post
from tests.support.inprocess import Shuttle, running_shuttle, script_request
from tests.support.receivers import Receiver, answering

pytestmark = pytest.mark.asyncio(loop_scope="module")

HEADERS = {"Authorization": f"Bearer {CONTROLLER}"}
TOKENS = {"SHUTTLE_TOKENS": f"controller:{CONTROLLER}"}
SECRET = "s3cret-value"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fast(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shuttle]:
    """A service that repeats a failed call at once."""
    folder = tmp_path_factory.mktemp("fast")
    async with running_shuttle(folder, SHUTTLE_WEBHOOK_SCHEDULE_SECONDS="0,0.01,3600", **TOKENS) as shuttle:
        shuttle.headers = HEADERS
        yield shuttle


def config(url: str) -> dict[str, Any]:
    return {"resume_reason": "there is room", "orchestration_config": {"job": "x", "trigger_webhook": url}}


async def resume(shuttle: Shuttle, name: str, url: str) -> Any:
    return await post(shuttle, f"/{await failed_build(shuttle, name)}/resume", config(url))


async def until_shown(shuttle: Shuttle, request: Any, **wanted: Any) -> Any:
    """Wait until the request to resume has these values."""
    path = f"/-/state/resume-requests/{request['id']}"
    return await shuttle.until_shown(path, lambda shown: wanted.items() <= shown.items(), seconds=10)


async def calls(shuttle: Shuttle, name: str) -> list[tuple[str, str, int]]:
    """The deliveries to resume the build, by their state and the number of their attempts."""
    answer = await shuttle.get(f"/-/deliveries?build_id={name}-r1")
    return [(row["status"], row["state"], row["tries"]) for row in answer.json["deliveries"]]


async def test_the_ci_system_is_called_once_with_the_request(fast: Shuttle, name: str):
    async with Receiver(answering(503), answering(200)) as receiver:
        uuid = await failed_build(fast, name)
        address = receiver.url.replace("://", f"://user:{SECRET}@")
        with capture_logs() as logs:
            first, again = [await post(fast, f"/{uuid}/resume", config(address)) for _ in range(2)]
            assert first["id"] == again["id"]
            shown = await until_shown(fast, first, orchestration_status="triggered")
        assert [shown["orchestration_config"], shown["error_message"]] == [{"job": "x"}, None]
        assert shown["triggered_at"] is not None
        refused, accepted = [await receiver.exchange(index) for index in range(2)]
        as_sent = {"orchestration_status": "pending", "triggered_at": None}
        assert json.loads(accepted.body) == {**shown, **as_sent}
        assert (accepted.headers["Authorization"], accepted.headers["webhook-id"]) == (
            "Basic dXNlcjpzM2NyZXQtdmFsdWU=",
            refused.headers["webhook-id"],
        )
        await post(fast, f"/{first['id']}/states", {"state": 30, "status": "it runs"})
        await post(fast, f"/{first['id']}/states", {"state": 100, "status": "completed"})
    assert await calls(fast, name) == [("resume", "delivered", 2)]
    read = (await fast.get(f"{BUILDS}/{uuid}/resume")).text + (await fast.get(f"{BUILDS}/{first['id']}")).text
    assert SECRET not in f"{read}{logs}"


async def test_call_has_characters_that_are_none(fast: Shuttle, name: str):
    """Before, the request to resume the build got 500."""
    async with Receiver(answering(200)) as receiver:
        body = config(receiver.url) | {"metadata": {"x": "\ud800"}}
        request = await post(fast, f"/{await failed_build(fast, name)}/resume", body)
        await until_shown(fast, request, orchestration_status="triggered")
        assert json.loads((await receiver.exchange(0)).body)["metadata"] == {"x": "\ud800"}


async def test_the_receivers_of_statuses_are_not_called_and_the_trigger_gets_no_statuses(fast: Shuttle, name: str):
    async with Receiver(answering(200)) as trigger, Receiver(answering(200)) as statuses:
        metadata = {"webhooks": {"status": statuses.url}}
        uuid = (await post(fast, "", {"build_number": name, "metadata": metadata}))["id"]
        await post(fast, f"/{uuid}/failures", {"error_message": "It broke."})
        request = await post(fast, f"/{uuid}/resume", config(trigger.url))
        await until_shown(fast, request, orchestration_status="triggered")
        await fast.ask("PATCH", f"/-/state/resume-requests/{request['id']}", json={"orchestration_status": "completed"})
        received = [json.loads(await receiver_body(statuses, index)) for index in range(5)]
        assert [(each["build_id"], each["sequence"], each["status"]) for each in received] == [
            (name, 1, "pending"),
            (name, 2, "failed"),
            (f"{name}-r1", 1, "queued"),
            (f"{name}-r1", 2, "pending"),
            (f"{name}-r1", 3, "succeeded"),
        ]
        build = (await fast.get(f"/default/{name}-r1")).json
        assert len(build["receivers"]) == 1
    assert [call for call in await calls(fast, name) if call[0] == "resume"] == [("resume", "delivered", 1)]


async def receiver_body(receiver: Receiver, index: int) -> bytes:
    exchange = await receiver.exchange(index)
    await exchange.until(lambda: exchange.ended)
    return bytes(exchange.body)


@pytest.mark.parametrize("by", ["triggered", "running", "failed"])
async def test_the_ci_system_is_not_called_any_more_once_it_has_begun(fast: Shuttle, name: str, by: str):
    async with Receiver(answering(503)) as receiver:
        request = await resume(fast, name, receiver.url)
        await until_shown(fast, request, error_message="The receiver answered 503.")
        await fast.ask("PATCH", f"/-/state/resume-requests/{request['id']}", json={"orchestration_status": by})
        assert [(status, state) for status, state, _ in await calls(fast, name)] == [("resume", "gave_up")]


async def test_the_call_survives_a_restart(tmp_path: Path, name: str):
    async with Receiver(answering(503), answering(200)) as receiver:
        async with running_shuttle(tmp_path, SHUTTLE_WEBHOOK_SCHEDULE_SECONDS="0,1", **TOKENS) as before:
            before.headers = HEADERS
            request = await resume(before, name, receiver.url)
            await until_shown(before, request, error_message="The receiver answered 503.")
        async with running_shuttle(tmp_path, **TOKENS) as after:
            after.headers = HEADERS
            await until_shown(after, request, orchestration_status="triggered")
        ids = {(await receiver.exchange(index)).headers["webhook-id"] for index in range(2)}
        assert len(ids) == 1


async def test_a_call_that_was_given_up_is_followed_by_no_statuses(tmp_path: Path, name: str):
    async with (
        Receiver(answering(503)) as receiver,
        running_shuttle(tmp_path, SHUTTLE_WEBHOOK_SCHEDULE_SECONDS="0", **TOKENS) as shuttle,
    ):
        shuttle.headers = HEADERS
        request = await resume(shuttle, name, receiver.url)
        await until_shown(shuttle, request, error_message="The receiver answered 503.")
        await post(shuttle, f"/{request['id']}/states", {"state": 30, "status": "somebody has begun it"})
        assert await calls(shuttle, name) == [("resume", "gave_up", 1)]


@pytest.mark.parametrize(
    ("value", "steps"),
    [
        pytest.param(7, [], id="a number"),
        pytest.param([], [], id="none"),
        pytest.param(["http://a.example/", "http://b.example/"], [], id="two"),
        pytest.param("ftp://a.example/", [], id="another scheme"),
        pytest.param("kafka://a.example/topic", [], id="Kafka"),
        pytest.param("failover(http://a.example/,http://b.example/)", [], id="a failover"),
        pytest.param(f"http://169.254.169.254/{SECRET}", [], id="a forbidden address"),
        pytest.param({"url": f"https://[::ffff:a9fe:a9fe]/{SECRET}"}, ["url"], id="a forbidden address in IPv6"),
        pytest.param({"url": "https://a.example/", "headers": {"X Y": SECRET}}, ["headers", "X Y"], id="a header"),
    ],
)
async def test_other_values_are_refused_by_the_name_of_the_field(
    fast: Shuttle, name: str, value: Any, steps: list[str]
):
    """Before, a request with a forbidden address was accepted, and its call failed."""
    uuid = await failed_build(fast, name)
    body = {"orchestration_config": {"trigger_webhook": value}}
    with capture_logs() as logs:
        refused = await fast.ask("POST", f"{BUILDS}/{uuid}/resume", json=body)
    assert refused.status == 422
    assert refused.json["detail"][0]["loc"] == ["body", "orchestration_config", "trigger_webhook", *steps]
    assert SECRET not in f"{refused.text}{logs}"
    assert (await fast.get(f"{BUILDS}/{uuid}/resume")).json == []


async def test_the_service_itself_resumes_its_own_builds(fast: Shuttle, name: str):
    body = script_request() | {"source": {"url": "data:,no-archive"}}
    assert (await fast.post(f"/{name}/1", body)).status == 200
    build = await fast.until(f"/{name}/1")
    answer = await fast.ask("POST", f"{BUILDS}/{build['build_uuid']}/resume", json=config("http://a.example/"))
    assert answer.headers["Shuttle-Ignored-Fields"] == "orchestration_config.trigger_webhook"
    assert await calls(fast, "1") == []
