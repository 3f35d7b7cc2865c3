"""Jenkins fails or misbehaves: its builds are found again or end as documented, and none runs twice.

See docs/contract.md, "Ends of builds".
"""

import asyncio
import hashlib
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from shuttle.build import job_name_of
from tests.support.faulty_proxy import FaultyProxy, faulty_proxy
from tests.support.free_port import free_port
from tests.support.product import TOKEN, USER, Product, Receiver, running_product

pytestmark = pytest.mark.asyncio(loop_scope="module")
AUTHORIZED = {"Authorization": aiohttp.encode_basic_auth(USER, TOKEN)}
ALL = ["queued", "pending", "succeeded"]
FAULTS = [500, 502, 503, "garbage", "reset", "cut", 401, 403]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("faults")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def product(folder):
    port = free_port()
    async with faulty_proxy(f"http://127.0.0.1:{port}") as proxy:
        url = proxy.url.replace("://", f"://{USER}:{TOKEN}@")
        async with running_product(
            folder, jenkins_port=port, JENKINS_URL=url, executors=len(FAULTS), MAXIMUM_PARALLEL_BUILDS="8"
        ) as running:
            running.proxy = proxy
            yield running


@pytest.fixture
def proxy(product):
    made: FaultyProxy = product.proxy
    made.hits.clear()
    made.calmed.clear()
    return made


def marking(folder: Path, name: str, rest: str = "seq 1 300; sleep 0.3; seq 301 600") -> str:
    return f"#!/bin/sh\necho ran >> {folder}/{name}.ran\n{rest}\n"


async def succeeds_once(product: Product, receiver: Receiver, name: str) -> None:
    """Wait for the end: the build has succeeded, has run once, and its log is complete."""
    await receiver.until(lambda: receiver.final is not None and receiver.log_ended > 0, 50)
    assert receiver.words() == ALL
    log = bytes(receiver.log)
    assert receiver.final["log_sha256"] == hashlib.sha256(log).hexdigest()
    assert [int(line) for line in log.split() if line.isdigit()][-600:] == list(range(1, 601))
    assert (product.folder / f"{name}.ran").read_text().split() == ["ran"]


async def test_running_build_ends_by_its_agents_report_while_jenkins_fails(product, proxy, folder):
    """Each build has another fault. Jenkins is asked about the builds only because their agents are silent."""
    names = {f"all-{fault}": fault for fault in FAULTS}
    receivers = {name: product.receiver(name) for name in names}
    script = f"seq 1 300; while [ ! -e {folder}/all.gate ]; do sleep 0.05; done; seq 301 600"
    for name, receiver in receivers.items():
        await product.submit(name, "1", marking(folder, name, script), receiver)
        await receiver.until(lambda receiver=receiver: b"\n300\n" in receiver.log)
    jobs = {f"/job/{job_name_of(name)}/": fault for name, fault in names.items()}
    proxy.fault = lambda request: next((fault for job, fault in jobs.items() if job in request.path), None)
    await proxy.until(lambda: all(sum(job in path for path, _ in proxy.hits) >= 2 for job in jobs))
    for name in names:
        assert (await product.build(name, "1"))["state"] == "running"
    (folder / "all.gate").touch()
    for name, receiver in receivers.items():
        await succeeds_once(product, receiver, name)
    proxy.stop_faults()


@pytest.mark.parametrize("fault", FAULTS)
async def test_everything_fails_before_the_trigger(product, proxy, folder, fault):
    name = f"early-{fault}"
    receiver = product.receiver(name)
    proxy.fault = lambda _request: fault
    await product.submit(name, "1", marking(folder, name), receiver)
    await proxy.until_hits(2)
    seen = await product.build(name, "1")
    assert seen["state"] in {"recorded", "staging"}
    proxy.stop_faults()
    await succeeds_once(product, receiver, name)


def triggers(fault: str | int):
    """A fault for the first trigger only."""
    left = [fault]
    return lambda request: left.pop() if left and "buildWithParameters" in request.path else None


@pytest.mark.parametrize("fault", ["lose", "reset", "garbage", 500, 502])
async def test_the_answer_of_the_trigger_is_lost(product, proxy, folder, fault):
    name = f"trigger-{fault}"
    receiver = product.receiver(name)
    proxy.fault = triggers(fault)
    await product.submit(name, "1", marking(folder, name), receiver)
    await succeeds_once(product, receiver, name)
    assert [hit[1] for hit in proxy.hits] == [fault]


async def test_the_trigger_arrives_after_the_end_of_the_search(product, proxy, folder):
    name = "late"
    receiver = product.receiver(name)
    proxy.fault = triggers("late")
    await product.submit(name, "1", marking(folder, name, "seq 1 300; sleep 1; seq 301 600"), receiver)
    await product.until_state(name, "1", "running")
    proxy.stop_faults()
    await succeeds_once(product, receiver, name)


async def test_a_replay_in_jenkins_runs_nothing(product, proxy, folder):
    """Jenkins starts a second build with all parameters of the first one, including its token."""
    name = "replay"
    receiver = product.receiver(name)
    proxy.fault = triggers("again")
    await product.submit(name, "1", marking(folder, name), receiver)
    build = await product.until_state(name, "1", "running")
    proxy.stop_faults()
    await succeeds_once(product, receiver, name)
    await until_jenkins_build_is_over(product, f"{proxy.target}/job/{build['jenkins']['job']}/2")
    assert (product.folder / f"{name}.ran").read_text().split() == ["ran"]
    assert receiver.words() == ALL


async def until_jenkins_build_is_over(product: Product, url: str) -> None:
    async with asyncio.timeout(20):
        while True:
            async with product.session.get(f"{url}/api/json?tree=building,result", headers=AUTHORIZED) as response:
                if response.status == 200 and not (await response.json())["building"]:
                    return
            await asyncio.sleep(0.05)  # Jenkins does not report the end of a build


@pytest.mark.parametrize("both", [False, True])
async def test_jenkins_restarts_in_mid_build(product, proxy, folder, both):
    """Jenkins is killed and started again, alone or together with the shuttle."""
    name = f"restart-{both}"
    gate = folder / name
    receiver = product.receiver(name)
    script = marking(folder, name, f"seq 1 300; while [ ! -e {gate} ]; do sleep 0.05; done; seq 301 600")
    await product.submit(name, "1", script, receiver)
    await receiver.until(lambda: b"\n300\n" in receiver.log)
    if both:
        await product.shuttle.kill()
    await product.jenkins.restart()
    gate.touch()
    if both:
        await product.shuttle.start()
    await succeeds_once(product, receiver, name)


async def test_jenkins_is_down_at_the_post_and_back_later(product, proxy, folder):
    name = "down"
    receiver = product.receiver(name)
    await product.jenkins.kill()
    await product.submit(name, "1", marking(folder, name), receiver)
    waiting = await product.until_waiting(name, "1")
    assert "Jenkins" in waiting
    await product.jenkins.start()
    await succeeds_once(product, receiver, name)


async def test_a_running_build_deleted_in_jenkins_ends_as_aborted(product, proxy, folder):
    """Before Jenkins deletes the build, it aborts the step, and the agent reports that."""
    name = "deleted"
    receiver = product.receiver(name)
    await product.submit(name, "1", marking(folder, name, "echo started; sleep 600"), receiver)
    await receiver.until(lambda: b"started\n" in receiver.log)
    build = await product.build(name, "1")
    url = f"{proxy.target}/job/{build['jenkins']['job']}/doDelete"
    async with product.session.post(url, headers=AUTHORIZED, allow_redirects=False) as response:
        assert response.status == 302
    await receiver.until(lambda: receiver.final is not None and receiver.log_ended > 0)
    assert receiver.final["reason"] == "aborted_in_jenkins"
    assert receiver.final["log_sha256"] == hashlib.sha256(bytes(receiver.log)).hexdigest()
