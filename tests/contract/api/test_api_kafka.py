"""Statuses and logs in Kafka and failover(…), as callers request them and GET shows them."""

import hashlib
import json
from datetime import datetime, timedelta

import pytest
import pytest_asyncio
from standardwebhooks import Webhook

from tests.support.inprocess import Jenkins, Shuttle, running_shuttle
from tests.support.kafka_broker import black_hole, closed_port
from tests.support.kafka_cluster import Cluster, kafka_cluster
from tests.support.kafka_topic import header

pytestmark = pytest.mark.asyncio(loop_scope="module")

IMPATIENT_SECONDS = 2
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster():
    async with kafka_cluster() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def signing(tmp_path_factory: pytest.TempPathFactory, jenkins: Jenkins):
    folder = tmp_path_factory.mktemp("signing")
    async with running_shuttle(folder, jenkins.url, SHUTTLE_WEBHOOK_SECRET=SECRET) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def impatient(tmp_path_factory: pytest.TempPathFactory, jenkins: Jenkins):
    folder = tmp_path_factory.mktemp("impatient")
    seconds = str(IMPATIENT_SECONDS)
    async with running_shuttle(folder, jenkins.url, SHUTTLE_WEBHOOK_TIMEOUT_SECONDS=seconds) as running:
        yield running


def distinct_statuses(messages) -> list[str]:
    """The statuses in order, without duplicates (by webhook-id)."""
    return list({header(message, "webhook-id"): json.loads(message.value)["status"] for message in messages}.values())


@pytest.mark.slow
async def test_statuses_are_sent_to_kafka_as_signed_messages_with_the_builds_key(
    signing: Shuttle, cluster: Cluster, app: str
):
    async with cluster.reading(app) as topic:
        await signing.submit(f"/{app}/b%201", "echo hello", webhooks={"status": cluster.url(app)}, metadata=[1])
        await topic.until(lambda messages: len(distinct_statuses(messages)) == 3)
    assert distinct_statuses(topic.messages) == ["queued", "pending", "succeeded"]
    for message in topic.messages:
        assert message.key == f"{app}/b 1".encode()
        headers = {name: value.decode() for name, value in message.headers}
        assert sorted(headers) == ["webhook-id", "webhook-signature", "webhook-timestamp"]
        assert Webhook(SECRET).verify(message.value, headers)["id"] == [1]
    shown = await signing.until_shown(f"/{app}/b%201", lambda build: build["receivers"][0]["state"] == "done")
    assert shown["receivers"][0]["kind"] == "kafka"
    assert shown["receivers"][0]["host"] == cluster.bootstrap


async def test_statuses_and_log_fail_over_to_the_next_member(shuttle: Shuttle, cluster: Cluster, app: str):
    dead = f"127.0.0.1:{closed_port()}"
    failover = f"failover(kafka://user:s3cret-word@{dead}/t, {cluster.url(app)})"
    log = f"failover(kafka://user:s3cret-word@{dead}/t, {cluster.url(app + '-log')})"
    async with cluster.reading(app) as statuses, cluster.reading(f"{app}-log") as lines:
        await shuttle.submit(f"/{app}/1", "echo s3cret-word", webhooks={"status": failover, "logs": log})
        await statuses.until(lambda messages: len(distinct_statuses(messages)) == 3)
        await lines.until(lambda messages: any(b"Build finished" in message.value for message in messages))
    build = await shuttle.until_shown(
        f"/{app}/1", lambda build: build["sinks"][0]["state"] == build["receivers"][0]["state"] == "done"
    )
    [sink], [receiver] = build["sinks"], build["receivers"]
    assert (sink["kind"], sink["host"]) == ("failover", f"{dead}, {cluster.bootstrap}")
    assert sink["acked_offset"] == build["log"]["bytes"]
    assert f"Kafka {dead} cannot be reached" in sink["last_error"]
    assert f"Failed over to {cluster.bootstrap} at offset 0." in sink["last_error"]
    assert (sink["attempts"], sink["failing_since"], receiver["attempts"]) == (2, None, 3)
    for endpoint in (sink, receiver):
        (over,) = endpoint["failovers"]
        assert over["to"] == cluster.bootstrap
        assert f"Kafka {dead} cannot be reached" in over["why"]
        assert build["timestamps"]["accepted_at"] <= over["at"]
    text = b"".join(json.loads(message.value)["message"].encode() + b"\n" for message in lines.messages[:-1])
    assert hashlib.sha256(text).hexdigest() == build["log"]["sha256"]
    assert b"[secret]" in text
    assert "s3cret-word" not in json.dumps(build) + text.decode()


@pytest.mark.slow
async def test_time_of_a_failover_is_after_the_wait_for_the_first_member(
    impatient: Shuttle, cluster: Cluster, app: str
):
    with black_hole() as port:
        failover = f"failover(kafka://127.0.0.1:{port}/t, {cluster.url(app)})"
        await impatient.submit(f"/{app}/1", "echo hello", webhooks={"status": failover})
        build = await impatient.until_shown(f"/{app}/1", lambda build: build["receivers"][0]["failovers"])
    (over,) = build["receivers"][0]["failovers"]
    accepted_at, over_at = map(datetime.fromisoformat, (build["timestamps"]["accepted_at"], over["at"]))
    assert over_at - accepted_at > timedelta(seconds=IMPATIENT_SECONDS / 2)
    assert "does not answer" in over["why"]


@pytest.mark.slow
async def test_unreachable_kafka_delays_neither_the_response_nor_the_build(shuttle: Shuttle, app: str):
    dead = f"kafka://127.0.0.1:{closed_port()}/t"
    await shuttle.submit(f"/{app}/1", "echo hello", webhooks={"status": dead, "logs": dead})
    await shuttle.until(f"/{app}/1", "succeeded")
    build = await shuttle.until_shown(f"/{app}/1", lambda build: build["receivers"][0]["last_error"] is not None)
    assert build["sinks"][0]["state"] == "failing"
    assert "cannot be reached (Connection refused)" in build["sinks"][0]["last_error"]
    assert "cannot be reached (Connection refused)" in build["receivers"][0]["last_error"]
    assert build["sinks"][0]["lag_bytes"] == build["log"]["bytes"]
