"""Real Kafka brokers (KRaft) on loopback, which a test may kill, stop and start again, each by its pid."""

import asyncio
import base64
import logging
import os
import signal
import socket
import uuid
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from tests.kafka_topic import Topic, consuming

LIBRARIES = Path(__file__).parents[2] / ".real" / "kafka" / "libs"
USER, PASSWORD = "builder", "pass word:&%-of-the-brokers"
# It tells of every broker that is down, many times a second, and here they are down on purpose.
logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
_READY_WITHIN_SECONDS = 60
# Small, so that a leader that dies or hangs is replaced within seconds; the default is 9 s.
_SESSION_SECONDS = 3


def free_ports(count: int) -> list[int]:
    """Different ones, below the ephemeral range: no outgoing connection takes them while a broker is down."""
    found: list[int] = []
    with ExitStack() as probes:
        for port in range(20_000 + os.getpid() % 10_000, 32_000):
            probe = probes.enter_context(socket.socket())
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
            if len(found) == count:
                return found
    raise AssertionError("no free ports")


class Broker:
    """One of them; its controller is in the same process."""

    def __init__(self, folder: Path, node: int, port: int) -> None:
        self.node = node
        self.host = f"127.0.0.1:{port}"
        self.configuration = folder / f"broker-{node}.properties"
        self._output = folder / f"broker-{node}.out"
        self._process: asyncio.subprocess.Process | None = None

    async def format(self, cluster_id: str) -> None:
        """Prepare its folder."""
        tool = await self._java("-Xmx64m", "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c")
        assert await tool.wait() == 0, self.output()

    async def start(self) -> None:
        """It runs when this returns, but may not serve yet: see `Brokers.make_topic`."""
        self._process = await self._java("-Xmx256m", "kafka.Kafka")

    async def _java(self, memory: str, *words: str) -> asyncio.subprocess.Process:
        options = (memory, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{LIBRARIES}/*")
        with self._output.open("ab") as output:
            return await asyncio.create_subprocess_exec(
                "java", *options, *words, self.configuration,
                stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip

    def send(self, number: signal.Signals) -> None:
        """SIGSTOP or SIGCONT."""
        assert self._process is not None
        self._process.send_signal(number)

    async def kill(self) -> None:
        """SIGKILL, also of a stopped one; fine twice."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def output(self) -> str:
        """What it has printed so far."""
        return self._output.read_text(errors="replace")[-3000:]


class Brokers:
    """A cluster. Topics have as many replicas as there are brokers, and need all but one of them in sync."""

    def __init__(self, brokers: list[Broker], login: dict[str, Any]) -> None:
        self.all = brokers
        self._login = login

    @property
    def bootstrap(self) -> str:
        """`host:port,host:port`."""
        return ",".join(broker.host for broker in self.all)

    def url(self, topic: str, *, password: str = PASSWORD) -> str:
        """The hook of a topic, with credentials if the cluster wants them."""
        userinfo = f"{quote(USER, safe='')}:{quote(password, safe='')}@" if self._login else ""
        return f"kafka://{userinfo}{self.bootstrap}/{topic}"

    @asynccontextmanager
    async def _admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap, request_timeout_ms=5000, **self._login)
        try:
            await admin.start()
            yield admin
        finally:
            await admin.close()

    async def make_topic(self, name: str) -> None:
        """With one partition. Also how a test knows that a fresh cluster serves: it is tried until it works."""
        copies = len(self.all)
        topic = NewTopic(name, 1, copies, topic_configs={"min.insync.replicas": str(max(copies - 1, 1))})
        async with asyncio.timeout(_READY_WITHIN_SECONDS):
            while not await self._made(topic):
                await asyncio.sleep(0.09)  # a broker cannot tell us when it begins to serve

    async def _made(self, topic: NewTopic) -> bool:
        try:
            async with self._admin() as admin:
                answer = await admin.create_topics([topic])
        except (KafkaError, OSError):
            return False
        return int(answer.topic_errors[0][1]) in {0, 36}  # made now, or by an earlier try whose answer was lost

    async def leader(self, topic: str) -> Broker:
        """Of the topic's partition."""
        async with self._admin() as admin:
            found = await admin.describe_topics([topic])
        node = found[0]["partitions"][0]["leader"]
        return next(broker for broker in self.all if broker.node == node)

    @asynccontextmanager
    async def reading(self, topic: str) -> AsyncIterator[Topic]:
        """What the topic holds and gets; goes on by itself after a fault."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap,
            group_id=None,
            auto_offset_reset="earliest",
            request_timeout_ms=3000,
            **self._login,
        )
        async with consuming(consumer, topic, [0]) as read:
            yield read


def _configuration(folder: Path, node: int, ports: list[tuple[int, int]], *, asks_for_password: bool) -> str:
    port, controller_port = ports[node - 1]
    copies = len(ports)
    settings = {
        "process.roles": "broker,controller",
        "node.id": node,
        "controller.quorum.voters": ",".join(f"{n}@127.0.0.1:{c}" for n, (_, c) in enumerate(ports, start=1)),
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "CLIENT",
        "listeners": f"CLIENT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"CLIENT://127.0.0.1:{port}",
        "listener.security.protocol.map": "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": folder / f"broker-{node}",
        "auto.create.topics.enable": "false",
        "broker.session.timeout.ms": _SESSION_SECONDS * 1000,
        "broker.heartbeat.interval.ms": 500,
        "replica.lag.time.max.ms": _SESSION_SECONDS * 1000,
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.replication.factor": copies,
        "group.initial.rebalance.delay.ms": 0,
    }
    if asks_for_password:
        known = f'username="{USER}" password="{PASSWORD}" user_{USER}="{PASSWORD}"'
        settings |= {
            "listener.security.protocol.map": "CLIENT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN",
            "sasl.mechanism.inter.broker.protocol": "PLAIN",
            "listener.name.client.plain.sasl.jaas.config": (
                f"org.apache.kafka.common.security.plain.PlainLoginModule required {known};"
            ),
        }
    return "".join(f"{name}={value}\n" for name, value in settings.items())


@asynccontextmanager
async def running_brokers(folder: Path, count: int, *, asks_for_password: bool = False) -> AsyncIterator[Brokers]:
    """Start `count` brokers with their files in `folder`; `make_topic` waits until they serve."""
    assert LIBRARIES.is_dir(), "tests/real/install brings it"
    folder.mkdir(exist_ok=True)
    found = free_ports(2 * count)
    ports = list(zip(found[:count], found[count:], strict=True))
    brokers = [Broker(folder, node, port) for node, (port, _) in enumerate(ports, start=1)]
    for broker in brokers:
        broker.configuration.write_text(_configuration(folder, broker.node, ports, asks_for_password=asks_for_password))
    login: dict[str, Any] = {}
    if asks_for_password:
        login = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN"}
        login |= {"sasl_plain_username": USER, "sasl_plain_password": PASSWORD}
    cluster_id = base64.urlsafe_b64encode(uuid.UUID(int=count).bytes).decode().rstrip("=")
    try:
        await asyncio.gather(*(broker.format(cluster_id) for broker in brokers))
        await asyncio.gather(*(broker.start() for broker in brokers))
        yield Brokers(brokers, login)
    finally:
        await asyncio.gather(*(broker.kill() for broker in brokers))
