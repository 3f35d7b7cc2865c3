"""One producer for each cluster, with mock brokers: order and sharing."""

import asyncio

import pytest

from shuttle.kafka.clusters import KafkaClusters
from shuttle.outgoing.kafka_url import read_kafka_url
from tests.support.kafka_cluster import Cluster, kafka_cluster
from tests.support.kafka_topic import header


async def send(clusters: KafkaClusters, cluster: Cluster, topic: str, key: str, values: list[str]) -> None:
    records = [(value.encode(), [("n", b"%d" % number)]) for number, value in enumerate(values)]
    address = read_kafka_url(cluster.url(topic), "test")
    await clusters.send(address, key.encode(), records, timeout_seconds=10)


async def test_records_arrive_in_order_with_key_and_headers(clusters):
    async with kafka_cluster(brokers=2) as cluster, cluster.reading("t") as topic:
        await send(clusters, cluster, "t", "app/1", [f"line {number}" for number in range(5000)])
        await topic.until(lambda messages: len(messages) == 5000)
        assert [message.value for message in topic.messages] == [b"line %d" % number for number in range(5000)]
        assert {message.key for message in topic.messages} == {b"app/1"}
        assert header(topic.messages[17], "n") == "17"
        assert len({message.partition for message in topic.messages}) == 1


@pytest.mark.slow
async def test_logs_in_one_partition_share_batches_and_keep_their_order(clusters):
    async with kafka_cluster() as cluster, cluster.reading("t") as topic:

        async def build(name: int) -> None:
            for part in range(20):
                await send(clusters, cluster, "t", f"app/{name}", [f"{name} {part} {line}" for line in range(5)])

        await asyncio.gather(*(build(name) for name in range(50)))
        await topic.until(lambda messages: len(messages) == 50 * 100)
        for name in range(50):
            mine = [m.value.decode() for m in topic.messages if m.key == f"app/{name}".encode()]
            assert mine == [f"{name} {part} {line}" for part in range(20) for line in range(5)]
