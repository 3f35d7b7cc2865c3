"""Logs and statuses in real Kafka clusters whose brokers die and hang: every line arrives, in order, doubles known."""

import asyncio
import hashlib
import json
import signal
from pathlib import Path

import pytest
import pytest_asyncio

from tests.kafka_topic import Topic, header, is_finished, joined, offset_of
from tests.product import Product, Receiver, running_product
from tests.real.kafka_brokers import PASSWORD, Brokers, running_brokers

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

# A request to a broker that hangs is given up after a third of it, and the new leader asked.
_KAFKA_TIMEOUT_SECONDS = "6"
_WITHIN_SECONDS = 60


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def three(tmp_path_factory):
    async with running_brokers(tmp_path_factory.mktemp("three"), 3) as brokers:
        await brokers.make_topic("ready")
        yield brokers


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(tmp_path_factory):
    async with running_brokers(tmp_path_factory.mktemp("guarded"), 1, asks_for_password=True) as brokers:
        await brokers.make_topic("ready")
        yield brokers


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def product(tmp_path_factory):
    folder = tmp_path_factory.mktemp("product")
    async with running_product(
        folder, executors=2, SHUTTLE_KAFKA_REQUEST_TIMEOUT_SECONDS=_KAFKA_TIMEOUT_SECONDS
    ) as running:
        yield running


class Talking:
    """A build that prints a line every 20 ms until it is told to end; its log goes to HTTP and to `hook`."""

    def __init__(self, product: Product, app_id: str, hook: str, gate: Path) -> None:
        self.product = product
        self.app_id = app_id
        self.receiver: Receiver = product.receiver(app_id)
        self._hook = hook
        self._gate = gate

    async def start(self) -> None:
        script = (
            f"#!/bin/sh\nseq 1 2000\nn=2000\n"
            f'while [ ! -e "{self._gate}" ]; do n=$((n+1)); echo "  line $n: żółw"; sleep 0.02; done\nprintf "no end"'
        )
        webhooks = {"status": f"{self.receiver.url}/status", "logs": [f"{self.receiver.url}/log", self._hook]}
        await self.product.submit(self.app_id, "1", script, webhooks=webhooks)

    async def arriving(self, topic: Topic) -> None:
        """Until what the build prints from now on is in the topic."""
        now = len(self.receiver.log)
        await topic.until(lambda messages: messages and offset_of(messages[-1]) > now, _WITHIN_SECONDS)

    async def sink(self, *states: str) -> dict[str, object]:
        """The Kafka sink in the ledger, once it is in one of these states."""
        async with asyncio.timeout(_WITHIN_SECONDS):
            while (sink := (await self.product.build(self.app_id, "1"))["sinks"][1])["state"] not in states:
                await asyncio.sleep(0.05)
        return dict(sink)

    async def end(self) -> None:
        self._gate.touch()
        await self.receiver.until(lambda: self.receiver.final and self.receiver.log_ended, _WITHIN_SECONDS)

    async def equals(self, log: bytes) -> None:
        """Byte for byte in HTTP, the archive and here, and as the final status says."""
        assert log == bytes(self.receiver.log) == await self.product.log(self.app_id, "1")
        assert hashlib.sha256(log).hexdigest() == self.receiver.final["log_sha256"]
        sink = await self.sink("done")
        assert (sink["acked_offset"], sink["lag_bytes"]) == (len(log), 0)


async def test_one_build_to_http_kafka_and_archive_is_equal_to_the_byte(product, three, tmp_path):
    await three.make_topic("equal")
    talking = Talking(product, "equal", three.url("equal"), tmp_path / "gate")
    async with three.reading("equal") as topic:
        await talking.start()
        await talking.arriving(topic)
        await talking.end()
        await topic.until(is_finished)
    log, size_bytes = joined(topic.messages)
    assert b"\nno end" in log
    assert size_bytes == len(log) == talking.receiver.final["log_bytes"]
    await talking.equals(log)


async def test_statuses_arrive_in_order_with_their_ids(product, three):
    await three.make_topic("statuses")
    async with three.reading("statuses") as topic:
        await product.submit("told", "1", "#!/bin/sh\necho x", webhooks={"status": three.url("statuses")})
        await topic.until(lambda messages: any(b'"succeeded"' in message.value for message in messages))
    bodies = {header(message, "webhook-id"): json.loads(message.value) for message in topic.messages}
    assert [body["status"] for body in bodies.values()] == ["queued", "pending", "succeeded"]
    assert [body["sequence"] for body in bodies.values()] == [1, 2, 3]
    assert {message.key for message in topic.messages} == {b"told/1"}


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP], ids=["dies", "hangs"])
async def test_another_broker_leads_when_the_leader_dies_or_hangs(product, three, tmp_path, fault):
    name = f"leader-{fault.name.lower()}"
    await three.make_topic(name)
    talking = Talking(product, name, three.url(name), tmp_path / "gate")
    async with three.reading(name) as topic:
        await talking.start()
        await talking.arriving(topic)
        leader = await three.leader(name)
        leader.send(fault)
        try:
            await talking.arriving(topic)  # while it is dead or hangs
        finally:
            await _revive(leader, fault)
        await talking.arriving(topic)
        await talking.end()
        await topic.until(is_finished, _WITHIN_SECONDS)
    await talking.equals(joined(topic.messages)[0])


async def _revive(broker, fault: signal.Signals) -> None:
    if fault == signal.SIGSTOP:
        broker.send(signal.SIGCONT)
        return
    await broker.kill()
    await broker.start()


async def test_it_goes_on_where_it_was_when_all_brokers_were_down(product, three, tmp_path):
    await three.make_topic("down")
    talking = Talking(product, "down", three.url("down"), tmp_path / "gate")
    async with three.reading("down") as topic:
        await talking.start()
        await talking.arriving(topic)
        await asyncio.gather(*(broker.kill() for broker in three.all))
        sink = await talking.sink("failing")
        assert str(sink["last_error"]).startswith("Kafka 127.0.0.1:")
        await asyncio.gather(*(broker.start() for broker in three.all))
        await talking.arriving(topic)
        await talking.end()
        await topic.until(is_finished, _WITHIN_SECONDS)
    await talking.equals(joined(topic.messages)[0])


async def test_failover_goes_to_the_second_cluster_when_the_first_hangs(
    product, three: Brokers, guarded: Brokers, tmp_path
):
    await asyncio.gather(three.make_topic("failover"), guarded.make_topic("failover"))
    hook = f"failover({three.url('failover')}, {guarded.url('failover')})"
    talking = Talking(product, "failover", hook, tmp_path / "gate")
    async with three.reading("failover") as first, guarded.reading("failover") as second:
        await talking.start()
        await talking.arriving(first)
        began_at = asyncio.get_running_loop().time()
        for broker in three.all:
            broker.send(signal.SIGSTOP)
        try:
            await second.until(lambda messages: messages, _WITHIN_SECONDS)
            took_seconds = asyncio.get_running_loop().time() - began_at
            await talking.arriving(second)
            sink = await talking.sink("live", "behind")
            await talking.end()
            await second.until(is_finished, _WITHIN_SECONDS)
        finally:
            for broker in three.all:
                broker.send(signal.SIGCONT)
        assert took_seconds < 11, "10 s to decide, and the going over"
        assert f"Went over to {guarded.bootstrap} at offset " in str(sink["last_error"])
        assert PASSWORD not in json.dumps(sink)
        begins_at = int(header(second.messages[0], "offset"))
        await first.until(lambda messages: _end(messages) >= begins_at, _WITHIN_SECONDS)
    await talking.equals(joined([*first.messages, *second.messages])[0])


def _end(messages) -> int:
    """The offset behind the last message."""
    last = messages[-1]
    return int(header(last, "offset")) + len(json.loads(last.value)["message"].encode()) + 1


async def test_a_wrong_password_says_so_in_the_ledger(product, guarded, tmp_path):
    talking = Talking(product, "wrong", guarded.url("ready", password="wrong-password"), tmp_path / "gate")
    await talking.start()
    sink = await talking.sink("failing")
    await talking.end()
    assert sink["last_error"] == f"Kafka {guarded.bootstrap} refused the user or the password (SASL PLAIN)."
    assert "wrong-password" not in product.shuttle.output()
