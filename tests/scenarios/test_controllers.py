"""Several Jenkins controllers: where the builds of an app run, and when an app moves."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.free_port import free_port
from tests.support.product import TOKEN, USER, Process, Product, Receiver, end_agents, running_product

pytestmark = pytest.mark.timeout(120)

SLOW = """#!/bin/sh
for i in 1 2 3 4 5 6; do echo $i; sleep 0.5; done
"""
QUICK = "#!/bin/sh\necho built\n"


@asynccontextmanager
async def second_jenkins(folder: Path, port: int) -> AsyncIterator[Process]:
    """Another emulated controller, with four executors."""
    home = folder / "second"
    arguments = f"jenkins --port {port} --home {home} --executors 4 --user {USER} --token {TOKEN} --administrator"
    process = Process(arguments.split(), {}, f"http://127.0.0.1:{port}/login", folder / "second.out")
    await process.start()
    try:
        yield process
    finally:
        await process.kill()
        end_agents(home)


def settings(first: int, second: int) -> Any:
    """The settings for two controllers on these ports; they are probed twice a second."""
    named = (("one", first), ("two", second))
    urls = ",".join(f"{name}=http://{USER}:{TOKEN}@127.0.0.1:{port}/" for name, port in named)
    return {"JENKINS_URL": urls, "SHUTTLE_JENKINS_MOVE_SECONDS": "1", "SHUTTLE_RELEASE_SECONDS": "1"}


async def begun(product: Product, app_id: str) -> Receiver:
    """Start a slow build, and wait for its first lines."""
    receiver = product.receiver(app_id)
    await product.submit(app_id, "1", SLOW, receiver)
    await receiver.until(lambda: b"\n2\n" in receiver.log)
    return receiver


async def built(product: Product, app_id: str, build_id: str) -> str:
    """Run a short build; returns its controller."""
    receiver = product.receiver(f"{app_id}-{build_id}")
    await product.submit(app_id, build_id, QUICK, receiver)
    return await ended(product, receiver, app_id, build_id)


async def ended(product: Product, receiver: Receiver, app_id: str, build_id: str) -> str:
    """Wait for the end of the build; returns its controller."""
    await receiver.until(lambda: receiver.final and receiver.log_ended, 60)
    assert receiver.final["status"] == "succeeded"
    return await controller_of(product, app_id, build_id)


async def controller_of(product: Product, app_id: str, build_id: str) -> str:
    name: str = (await product.build(app_id, build_id))["jenkins"]["controller"]
    return name


async def test_apps_spread_stay_and_move(tmp_path: Path):
    """One has a single executor, two has four: while one is busy, new apps go to two."""
    ports = [free_port(), free_port()]
    async with (
        second_jenkins(tmp_path, ports[1]) as second,
        running_product(tmp_path, executors=1, jenkins_port=ports[0], **settings(*ports)) as product,
    ):
        slow = await begun(product, "app-0")
        assert await controller_of(product, "app-0", "1") == "one", "both are idle, so the first one by name is chosen"
        assert [await built(product, f"app-{number}", "1") for number in (1, 2)] == ["two", "two"]
        assert await ended(product, slow, "app-0", "1") == "one"
        assert await built(product, "app-1", "2") == "two", "an app stays where it is"

        ready = await (await product.session.get(f"{product.url}/readyz")).json()
        assert (ready["status"], ready["controllers"]) == ("OK", {"one": "ok", "two": "ok"})
        await second.kill()
        assert await built(product, "app-0", "2") == "one"
        assert await built(product, "app-1", "3") == "one", "its controller is gone for longer than a second"
        assert await controller_of(product, "app-1", "2") == "two", "its earlier build has been on the other one"


async def test_a_running_build_does_not_move(tmp_path: Path):
    ports = [free_port(), free_port()]
    async with (
        second_jenkins(tmp_path, ports[1]),
        running_product(tmp_path, executors=2, jenkins_port=ports[0], **settings(*ports)) as product,
    ):
        running = await begun(product, "app")
        await product.jenkins.kill()  # the agent continues, and sends the rest of the log
        assert await built(product, "other", "1") == "two"
        await product.jenkins.start()
        assert await ended(product, running, "app", "1") == "one"
