"""The longest URL that each field accepts, and the error for a longer one."""

from typing import Any

import pytest

from tests.contract.legacy.caller import LegacyApp
from tests.support.inprocess import Shuttle

pytestmark = pytest.mark.asyncio(loop_scope="module")

LONGEST = 16_384


def url(start: str, characters: int = LONGEST + 1) -> str:
    return start + "x" * (characters - len(start))


def script(**fields: Any) -> dict[str, Any]:
    return {"source": {"url": "http://h/"}, "pipeline": "script", **fields}


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("source.url", {"source": {"url": url("http://h/")}, "pipeline": "script"}),
        ("source.url", {"source": {"url": url("http://h/?")}, "pipeline": "script"}),
        ("source.url", {"source": {"url": url("docker://h/")}, "destination": {"image": "docker://h/a"}}),
        ("destination.image", script(destination={"image": url("docker://h/")})),
        ("destination.url", script(destination={"url": url("docker://h/a:")})),
        ("webhooks.status", script(webhooks={"status": url("http://h/")})),
        ("webhooks.logs[0]", script(webhooks={"logs": [url("kafka://h/")]})),
        ("webhooks.logs[0].url", script(webhooks={"logs": [{"url": url("failover(http://h/, http://h/")}]})),
    ],
)
async def test_url_above_16384_characters_is_refused_with_its_field(idle: Shuttle, field: str, body: Any):
    answer = await idle.post("/long/1", body)
    assert (answer.status, answer.json["field"]) == (400, field)
    assert "16384 characters" in answer.json["message"]


@pytest.mark.parametrize("start", ["http://h/", "http://h/?"])
async def test_url_of_16384_characters_is_accepted(idle: Shuttle, app: str, start: str):
    body = {"source": {"url": url(start, LONGEST)}, "pipeline": "script"}
    assert (await idle.post(f"/{app}/1", body)).status == 200


async def test_data_url_may_be_longer(idle: Shuttle, app: str):
    body = {"source": {"url": url("data:,")}, "pipeline": "script"}
    assert (await idle.post(f"/{app}/1", body)).status == 200


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sources", url("http://h/")),
        ("sources", url("http://user:password@h/")),
        ("callback", url("http://h/")),
        ("gm_registry_host", url("h/")),
        ("kafka_hosts", ",".join(["host:9092"] * 2000)),
    ],
)
async def test_long_url_of_the_older_api_is_refused_with_its_field(idle: Shuttle, field: str, value: str):
    answer = await LegacyApp(idle).refused(**{field: value})
    assert answer.json["field"] == field
    assert "16384 characters" in answer.json["message"]
