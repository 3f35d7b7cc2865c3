"""The log of an older API's build, as Kafka consumers receive it."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.contract.legacy.caller import LegacyApp
from tests.support.inprocess import Jenkins, running_shuttle
from tests.support.kafka_cluster import Cluster, kafka_cluster
from tests.support.kafka_topic import is_finished, joined

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster() -> AsyncIterator[Cluster]:
    async with kafka_cluster(2) as running:
        yield running


@pytest.mark.slow
@pytest.mark.parametrize("number", [7, "7"])
async def test_kafka_hosts_get_the_log_in_the_old_format_on_the_old_topic(
    app: LegacyApp, cluster: Cluster, number: object
):
    async with cluster.reading("alamobuildlogs") as topic:
        await app.submit(number, 'echo "  indented ünd"', space="blue", kafka_hosts=cluster.bootstrap)
        ours = lambda messages: [one for one in messages if one.key == f"{app.app_id}/7".encode()]  # noqa: E731
        await topic.until(lambda messages: is_finished(ours(messages)))
        messages = ours(topic.messages)
    for message in messages:
        value = json.loads(message.value)
        assert list(value) == ["metadata", "build", "job", "message"]
        assert (value["metadata"], value["build"], value["job"]) == ("shop-blue", number, "7")
        assert type(value["build"]) is type(number)
    lines = [json.loads(message.value)["message"] for message in messages]
    assert "  indented ünd" in lines
    assert lines[-1] == "Build finished"
    assert joined(messages)[0] == (await app.logs(7)).body


async def test_topic_is_set_by_the_operator(app: LegacyApp, cluster: Cluster, jenkins: Jenkins, tmp_path: Path):
    async with (
        running_shuttle(tmp_path, jenkins.url, KAFKA_TOPIC="their.topic") as shuttle,
        cluster.reading("their.topic") as topic,
    ):
        app.shuttle = shuttle
        await app.submit(7, kafka_hosts=cluster.bootstrap)
        await topic.until(is_finished)


async def test_comma_separated_hosts_are_one_sink(waiting: LegacyApp, cluster: Cluster):
    assert "," in cluster.bootstrap
    await waiting.submit(7, kafka_hosts=cluster.bootstrap.replace(",", " , "))
    (sink,) = (await waiting.shuttle.build(waiting.path(7)))["sinks"]
    assert (sink["kind"], sink["host"]) == ("kafka", cluster.bootstrap)


@pytest.mark.parametrize("kafka_hosts", [None, "", " "], ids=repr)
async def test_build_without_kafka_hosts_has_no_sink(waiting: LegacyApp, kafka_hosts: str | None):
    await waiting.submit(7, kafka_hosts=kafka_hosts)
    assert (await waiting.shuttle.build(waiting.path(7)))["sinks"] == []
