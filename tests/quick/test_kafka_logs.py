"""A build's log in Kafka: equal to the byte with the HTTP stream and the archive, also when the shuttle is killed."""

import asyncio
import hashlib
import json

import pytest
import pytest_asyncio

from tests.kafka_cluster import kafka_cluster
from tests.kafka_topic import header, is_finished, joined
from tests.product import running_product

pytestmark = pytest.mark.asyncio(loop_scope="module")


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


async def test_http_kafka_and_archive_are_equal_to_the_byte(product, cluster):
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


async def test_killed_in_mid_log_it_goes_on_with_doubles_of_equal_offset_only(product, cluster, tmp_path):
    gate = tmp_path / "gate"
    receiver = product.receiver("killed")
    script = f"#!/bin/sh\nseq 1 2000\nwhile [ ! -e {gate} ]; do sleep 0.05; done\nseq 2001 4000\n"
    async with cluster.reading("killed") as topic:
        await product.submit("killed", "1", script, webhooks=hooks(receiver, cluster.url("killed")))
        await topic.until(lambda messages: any(b'"message":"2000"' in message.value for message in messages))
        await product.shuttle.restart()
        gate.touch()
        await receiver.until(lambda: receiver.final is not None and receiver.log_ended)
        await topic.until(is_finished)
        log, _ = joined(topic.messages)
        assert log == bytes(receiver.log) == await product.log("killed", "1")
        assert [line for line in log.split() if line.isdigit()][-4000:] == [b"%d" % n for n in range(1, 4001)]
        async with asyncio.timeout(10):
            while (sink := (await product.build("killed", "1"))["sinks"][1])["state"] != "done":
                await asyncio.sleep(0.02)
        assert (sink["kind"], sink["acked_offset"], sink["lag_bytes"]) == ("kafka", len(log), 0)
