"""Real Kafka brokers (KRaft) on loopback, which a test may kill, stop and start again, each by its pid."""

import asyncio
import base64
import logging
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from tests.support.free_port import free_port
from tests.support.kafka_topic import Topic, consuming
from tests.support.paused_process import pause, resume
from tests.support.tcp_proxy import TcpProxy

LIBRARIES = Path(__file__).parents[2] / ".real" / "kafka" / "libs"
USER, PASSWORD = "builder", "pass word:&%-of-the-brokers"
SCRAM = "SCRAM-SHA-512"
# aiokafka warns of every broker that is down many times a second, and these tests stop brokers on purpose.
logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
_READY_WITHIN_SECONDS = 120
# Options of Java. Tests use a small broker that starts within seconds, measurements those of Kafka's start script.
QUICK_TO_START = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
AS_SHIPPED = (
    "-Xmx1G", "-Xms1G", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent", "-XX:MaxInlineLevel=15",
)  # fmt: skip
# Small, so that a leader that dies or hangs is replaced within seconds; the default is 9 s.
_SESSION_SECONDS = 3


class Broker:
    """One broker; its controller is in the same process.

    `host` is its address for the other brokers and the test itself; `public` is that for clients, where a password may
    be needed or a proxy may listen.
    """

    def __init__(self, folder: Path, node: int, port: int, public_port: int) -> None:
        self.node = node
        self.host = f"127.0.0.1:{port}"
        self.public = f"127.0.0.1:{public_port}"
        self.configuration = folder / f"broker-{node}.properties"
        self._output = folder / f"broker-{node}.out"
        self._process: asyncio.subprocess.Process | None = None

    async def format(self, cluster_id: str) -> None:
        """Prepare its folder; the user exists from the start."""
        user = f"{SCRAM}=[name={USER},password={PASSWORD}]"
        tool = await self._java(
            QUICK_TO_START, "kafka.tools.StorageTool", "format", "-t", cluster_id, "--add-scram", user, "-c"
        )
        assert await tool.wait() == 0, self.output()

    async def start(self, machine: Sequence[str] = QUICK_TO_START) -> None:
        """Start the process. It may not serve yet when this returns: see `Brokers.make_topics`."""
        self._process = await self._java(machine, "kafka.Kafka")

    async def _java(self, machine: Sequence[str], *words: str) -> asyncio.subprocess.Process:
        with self._output.open("ab") as output:
            return await asyncio.create_subprocess_exec(
                "java", *machine, "-cp", f"{LIBRARIES}/*", *words, self.configuration,
                stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip

    async def pause(self) -> None:
        """Stop the process by SIGSTOP; the kernel still accepts connections for it."""
        assert self._process is not None
        await pause(self._process)

    def resume(self) -> None:
        """Continue the process."""
        assert self._process is not None
        resume(self._process)

    async def kill(self) -> None:
        """SIGKILL, also of a stopped process; idempotent."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def output(self) -> str:
        """The end of its output."""
        return self._output.read_text(errors="replace")[-3000:]


class Brokers:
    """A cluster. Each topic has a replica on every broker, and all but one of them have to be in sync."""

    def __init__(self, brokers: list[Broker], *, asks_for_password: bool) -> None:
        self.all = brokers
        self._asks_for_password = asks_for_password

    @property
    def bootstrap(self) -> str:
        """`host:port,host:port` for the test itself."""
        return ",".join(broker.host for broker in self.all)

    @property
    def public(self) -> str:
        """`host:port,host:port` for clients."""
        return ",".join(broker.public for broker in self.all)

    def url(self, topic: str, *, password: str = PASSWORD) -> str:
        """The URL of a topic as a receiver, with credentials if the cluster needs them."""
        userinfo = f"{quote(USER, safe='')}:{quote(password, safe='')}@" if self._asks_for_password else ""
        return f"kafka://{userinfo}{self.public}/{topic}"

    async def pause(self) -> None:
        """Stop all brokers by SIGSTOP."""
        for broker in self.all:
            await broker.pause()

    def resume(self) -> None:
        """Continue all brokers."""
        for broker in self.all:
            broker.resume()

    @asynccontextmanager
    async def _admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap, request_timeout_ms=5000)
        try:
            await admin.start()
            yield admin
        finally:
            await admin.close()

    async def make_topics(self, *names: str) -> None:
        """Create topics with one partition each. Retried until it succeeds: this is how tests wait for a cluster."""
        copies = len(self.all)
        configuration = {"min.insync.replicas": str(max(copies - 1, 1))}
        topics = [NewTopic(name, 1, copies, topic_configs=configuration) for name in names]
        async with asyncio.timeout(_READY_WITHIN_SECONDS):
            while not await self._made(topics):
                await asyncio.sleep(0.09)  # a broker does not report that it serves

    async def _made(self, topics: list[NewTopic]) -> bool:
        try:
            async with self._admin() as admin:
                answer = await admin.create_topics(topics)
        except (KafkaError, OSError, AttributeError):  # the last by aiokafka, while the cluster has no controller yet
            return False
        # 0: created now; 36: created by an earlier attempt whose answer was lost.
        return all(int(each[1]) in {0, 36} for each in answer.topic_errors)

    async def leader(self, topic: str) -> Broker:
        """The broker that leads the topic's partition."""
        async with self._admin() as admin:
            found = await admin.describe_topics([topic])
        node = found[0]["partitions"][0]["leader"]
        return next(broker for broker in self.all if broker.node == node)

    @asynccontextmanager
    async def reading(self, topic: str) -> AsyncIterator[Topic]:
        """A reader of the topic; it continues by itself after a fault."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap,
            group_id=None,
            auto_offset_reset="earliest",
            request_timeout_ms=3000,
        )
        async with consuming(consumer, topic, [0]) as read:
            yield read


def _configuration(folder: Path, broker: Broker, voters: list[str], port: int, *, asks_for_password: bool) -> str:
    """Properties with two listeners for clients and brokers: CLIENT at `port`, advertised as `public`, and DIRECT."""
    copies = len(voters)
    client = "SASL_PLAINTEXT" if asks_for_password else "PLAINTEXT"
    settings = {
        "process.roles": "broker,controller",
        "node.id": broker.node,
        "controller.quorum.voters": ",".join(f"{n}@{host}" for n, host in enumerate(voters, start=1)),
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "DIRECT",
        "listeners": f"CLIENT://127.0.0.1:{port},DIRECT://{broker.host},CONTROLLER://{voters[broker.node - 1]}",
        "advertised.listeners": f"CLIENT://{broker.public},DIRECT://{broker.host}",
        "listener.security.protocol.map": f"CLIENT:{client},DIRECT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": folder / f"broker-{broker.node}",
        "auto.create.topics.enable": "false",
        "broker.session.timeout.ms": _SESSION_SECONDS * 1000,
        "broker.heartbeat.interval.ms": 500,
        # How long brokers wait for a controller that hangs. When the broker that was also the controller was stopped,
        # the whole cluster accepted nothing for 37 s with the default of 30 s, and for 6 s with this value.
        "controller.socket.timeout.ms": _SESSION_SECONDS * 1000,
        "replica.lag.time.max.ms": _SESSION_SECONDS * 1000,
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.replication.factor": copies,
        "group.initial.rebalance.delay.ms": 0,
    }
    if asks_for_password:
        security = "org.apache.kafka.common.security"
        settings |= {
            "sasl.enabled.mechanisms": f"PLAIN,{SCRAM}",
            "listener.name.client.plain.sasl.jaas.config": (
                f'{security}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
            ),
            f"listener.name.client.{SCRAM.lower()}.sasl.jaas.config": (f"{security}.scram.ScramLoginModule required;"),
        }
    return "".join(f"{name}={value}\n" for name, value in settings.items())


@asynccontextmanager
async def running_brokers(
    folder: Path,
    count: int,
    *,
    asks_for_password: bool = False,
    proxy: TcpProxy | None = None,
    machine: Sequence[str] = QUICK_TO_START,
) -> AsyncIterator[Brokers]:
    """Start `count` brokers with their files in `folder`; `make_topics` waits until they serve.

    Clients of a single broker can connect through a proxy, whose target is set here.
    """
    assert LIBRARIES.is_dir(), "run tests/real/install first"
    assert proxy is None or count == 1
    folder.mkdir(exist_ok=True)
    found = [free_port() for _ in range(3 * count)]
    client_ports, ports, controller_ports = found[:count], found[count : 2 * count], found[2 * count :]
    public_ports = client_ports
    if proxy is not None:
        proxy.target_port = client_ports[0]
        public_ports = [int(proxy.url.rpartition(":")[2])]
    brokers = [
        Broker(folder, node, port, public_port)
        for node, (port, public_port) in enumerate(zip(ports, public_ports, strict=True), start=1)
    ]
    voters = [f"127.0.0.1:{port}" for port in controller_ports]
    for broker, port in zip(brokers, client_ports, strict=True):
        configuration = _configuration(folder, broker, voters, port, asks_for_password=asks_for_password)
        broker.configuration.write_text(configuration)
    cluster_id = base64.urlsafe_b64encode(uuid.UUID(int=count).bytes).decode().rstrip("=")
    try:
        await asyncio.gather(*(broker.format(cluster_id) for broker in brokers))
        await asyncio.gather(*(broker.start(machine) for broker in brokers))
        yield Brokers(brokers, asks_for_password=asks_for_password)
    finally:
        await asyncio.gather(*(broker.kill() for broker in brokers))
