"""Faults of agents: the shuttle's disk is lost, the shuttle is down, the network is bad, a step's shell is killed.

Logs are sent by HTTP and to Kafka. Both, the archive and the final status are compared with the output of the build.
"""

import asyncio
import os
import random
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import pytest
import pytest_asyncio

from tests.support.kafka_cluster import Cluster, kafka_cluster
from tests.support.processes import files_of_processes
from tests.support.product import Product, running_product
from tests.support.subscribed_build import SubscribedBuild, subscribed_build
from tests.support.tcp_proxy import TcpProxy, tcp_proxy

pytestmark = [pytest.mark.timeout(240), pytest.mark.asyncio(loop_scope="module")]
SEED = 20190417
LOSSES = 4
AWAY_SECONDS = 10
# The traffic between an agent and the shuttle after which the proxy decides again: the size of several pushes.
STRETCH_BYTES = 50_000
# As Kafka messages these are 3 MB. The mock brokers keep 5 MB and drop older messages, even if a consumer is late.
LINES = 20_000
BEGUN = b"-----> Running build.sh\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kafka() -> AsyncIterator[Cluster]:
    async with kafka_cluster(brokers=2) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def network() -> AsyncIterator[TcpProxy]:
    """The proxy between the agents and the shuttle; it disturbs nothing until a test sets its share."""
    async with tcp_proxy(SEED, 0, longest_before_cut_bytes=STRETCH_BYTES, stretch_bytes=STRETCH_BYTES) as proxy:
        yield proxy


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def product(tmp_path_factory: pytest.TempPathFactory, network: TcpProxy) -> AsyncIterator[Product]:
    folder = tmp_path_factory.mktemp("agents")
    async with running_product(folder, BUILD_SHUTTLE_HOST=network.url) as running:
        network.target_port = int(running.url.rpartition(":")[2])
        yield running


def gated(product: Product, name: str, *parts: str) -> str:
    """A script of these parts; before each part but the first it waits for a gate."""
    wait = "while [ ! -e {}/{}.{} ]; do sleep 0.05; done"
    return "\n".join(
        part if not number else wait.format(product.folder, name, number) + "\n" + part
        for number, part in enumerate(parts)
    )


def open_gate(product: Product, name: str, number: int) -> None:
    (product.folder / f"{name}.{number}").touch()


def printed(log: bytes) -> bytes:
    """The output of the build itself."""
    return log.partition(BEGUN)[2]


def numbers(first: int, last: int) -> bytes:
    return b"".join(b"%d\n" % number for number in range(first, last + 1))


async def test_the_spools_disk_is_lost_while_the_shuttle_is_down(product: Product, kafka: Cluster):
    """The database is kept; the agents send their whole logs again."""
    moments = random.Random(SEED)
    each = LINES // (LOSSES + 1)
    parts = [f"seq {each * part + 1} {each * (part + 1)}" for part in range(LOSSES + 1)]
    async with subscribed_build(product, kafka, "disk") as build:
        await build.submit(gated(product, "disk", *parts))
        for number in range(1, LOSSES + 1):
            last = b"\n%d\n" % (each * number - moments.randrange(each - 1))
            await build.receiver.until(lambda last=last: last in build.receiver.log)
            await product.shuttle.kill()
            shutil.rmtree(product.folder / "data" / "spool")
            open_gate(product, "disk", number)
            await product.shuttle.start()
        assert printed(await build.received_log(seconds=60)) == numbers(1, each * (LOSSES + 1))


async def test_the_shuttle_is_down_while_a_build_continues_and_ends(product: Product, kafka: Cluster):
    async with subscribed_build(product, kafka, "away") as build:
        await build.submit(gated(product, "away", "seq 1 100", f"seq 101 {LINES}; touch {product.folder}/away.over"))
        await build.receiver.until(lambda: b"\n100\n" in build.receiver.log)
        await product.shuttle.kill()
        open_gate(product, "away", 1)
        await asyncio.sleep(AWAY_SECONDS)
        assert (product.folder / "away.over").exists(), "the build continues without the shuttle"
        await product.shuttle.start()
        assert printed(await build.received_log(seconds=60)) == numbers(1, LINES)


async def test_a_bad_network_between_agent_and_shuttle(product: Product, kafka: Cluster, network: TcpProxy):
    network.share = 0.4
    pieces = 40
    script = f"for i in $(seq 0 {pieces - 1}); do seq $((i*{LINES // pieces}+1)) $(((i+1)*{LINES // pieces}))"
    try:
        async with subscribed_build(product, kafka, "network") as build:
            await build.submit(f"{script}; sleep 0.2; done")
            assert printed(await build.received_log(seconds=120)) == numbers(1, LINES)
    finally:
        network.stop_faults()
    print(f"passed {network.passed}, disturbed {dict(network.disturbed)}")
    assert network.disturbed.total() >= 5


# --- a step's processes


@pytest.fixture
def user_process() -> Iterator[str]:
    """A command line that no other test uses; its processes are killed at the end."""
    command = f"sleep 600.{os.getpid()}"
    yield command
    for pid in pids_of(command):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def pids_of(command: str) -> list[int]:
    return [pid for pid, words in processes() if " ".join(words) == command]


def processes() -> Iterator[tuple[int, list[str]]]:
    for path in files_of_processes("cmdline"):
        with suppress(FileNotFoundError, ProcessLookupError):
            yield int(path.parent.name), path.read_bytes().decode(errors="replace").split("\0")[:-1]


def step_shell(product: Product) -> int:
    """The pid of the supervisor, the shell that Jenkins started for the only running step."""
    found = [
        pid
        for pid, words in processes()
        if words[-1:] and words[-1].startswith(str(product.folder)) and words[-1].endswith("/script.sh")
        if words[1:2] != ["-c"]
    ]
    return min(found)


async def test_a_step_whose_shell_is_killed(product: Product, kafka: Cluster, user_process: str):
    """No supervisor is left to report the end: Jenkins' console explains it, and the runner ends the user's process."""
    async with subscribed_build(product, kafka, "killed") as build:
        log = await ended_by_a_signal(product, build, user_process, signal.SIGKILL)
        assert log.splitlines()[-1] == b"ERROR: script returned exit code 137"
        assert build.receiver.final["reason"] == "build_failed"
    await until_gone(user_process)


async def test_a_step_whose_shell_is_terminated(product: Product, kafka: Cluster, user_process: str):
    async with subscribed_build(product, kafka, "terminated") as build:
        log = await ended_by_a_signal(product, build, user_process, signal.SIGTERM)
        assert log.splitlines()[-1] == b"-----> The build was aborted in Jenkins."
        assert build.receiver.final["reason"] == "aborted_in_jenkins"
    await until_gone(user_process)


async def ended_by_a_signal(product: Product, build: SubscribedBuild, command: str, number: signal.Signals) -> bytes:
    """The log of a build whose step's shell gets the signal while the build runs."""
    await build.submit(f"seq 1 1000; exec {command}")
    await build.receiver.until(lambda: b"\n1000\n" in build.receiver.log)
    os.kill(step_shell(product), number)
    log = await build.received_log(["queued", "pending", "failed"])
    assert printed(log).startswith(numbers(1, 1000))
    return log


async def until_gone(command: str) -> None:
    async with asyncio.timeout(10):
        while pids_of(command):
            await asyncio.sleep(0.05)
