"""A build's log in Kafka: identical to the HTTP stream and the archive, in the documented message format."""

import hashlib
import json

import pytest
import pytest_asyncio

from tests.support.kafka_cluster import kafka_cluster
from tests.support.kafka_topic import header, is_finished, joined
from tests.support.product import running_product

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster():
    async with kafka_cluster(brokers=2) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def product(tmp_path_factory):
    async with running_product(tmp_path_factory.mktemp("kafka"), executors=2) as running:
        yield running


def hooks(receiver, *logs: str) -> dict[str, object]:
    return {"status": f"{receiver.url}/status", "logs": [f"{receiver.url}/log", *logs]}


async def test_the_logs_over_http_in_kafka_and_in_the_archive_are_identical(product, cluster):
    receiver = product.receiver("equal")
    script = "#!/bin/sh\nprintf '  indented\\ttab\\n\\nżółw \\\"quoted\\\"\\n'; seq 1 3000; printf 'no end'"
    async with cluster.reading("equal") as topic:
        body = {"webhooks": hooks(receiver, cluster.url("equal")), "metadata": {"a": "ż"}}
        await product.submit("equal", "b 1", script, **body)
        await receiver.until(lambda: receiver.final is not None and receiver.log_ended)
        await topic.until(is_finished)
        build = await product.until_state("equal", "b 1", "succeeded")
        log, size_bytes = joined(topic.messages)
        assert log == bytes(receiver.log) == await product.log("equal", "b 1")
        assert size_bytes == receiver.final["log_bytes"]
        assert hashlib.sha256(log).hexdigest() == receiver.final["log_sha256"]
        first = topic.messages[0]
        assert first.key == b"equal/b 1"
        assert json.loads(first.value) | {"message": ""} == {
            "metadata": {"a": "ż"},
            "build": "b 1",
            "job": "b 1",
            "message": "",
        }
        assert {header(message, "build_uuid") for message in topic.messages} == {build["build_uuid"]}
