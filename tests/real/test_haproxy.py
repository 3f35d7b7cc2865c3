"""HAProxy with deploy/haproxy.cfg before three replicas: upgrades and outages as docs/scaling.md describes them."""

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.support.continuous_builds import builds_all_the_time
from tests.support.free_port import free_port
from tests.support.product import Product, running_replicas

pytestmark = pytest.mark.timeout(180)
_CONFIG = Path(__file__).parents[2] / "deploy" / "haproxy.cfg"


@asynccontextmanager
async def _haproxy(folder: Path, ports: Sequence[int]) -> AsyncIterator[str]:
    """HAProxy before the replicas at these ports of loopback; yields its URL."""
    port = free_port()
    servers = "".join(f"server replica{number} 127.0.0.1:{number}\n    " for number in ports)
    config = re.sub(r"server-template replica .*\n", servers + "\n", _CONFIG.read_text(encoding="utf-8"))
    config = config.replace("bind :9000", f"bind 127.0.0.1:{port}").replace("resolvers docker init-addr none", "")
    file = folder / "haproxy.cfg"
    file.write_text(config, encoding="utf-8")
    with (folder / "haproxy.out").open("wb") as output:
        process = await asyncio.create_subprocess_exec("haproxy", "-f", file, stdout=output, stderr=output)
    url = f"http://127.0.0.1:{port}"
    try:
        async with aiohttp.ClientSession() as session, asyncio.timeout(30):
            while not await _is_ready(session, url):
                assert process.returncode is None, (folder / "haproxy.out").read_text()
                await asyncio.sleep(0.05)
        yield url
    finally:
        process.kill()
        await process.wait()


async def _is_ready(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(f"{url}/readyz") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


async def _until_ready(product: Product, port: int) -> None:
    async with asyncio.timeout(30):
        while not await _is_ready(product.session, f"http://127.0.0.1:{port}"):
            await asyncio.sleep(0.05)


async def test_a_rolling_restart_behind_haproxy_fails_no_request(tmp_path: Path):
    async with (
        running_replicas(tmp_path, 3, SHUTTLE_DRAIN_SECONDS="5") as product,
        _haproxy(tmp_path, product.ports) as product.url,
        builds_all_the_time(product),
    ):
        for replica, port in zip(product.replicas, product.ports, strict=True):
            assert await replica.kill(signal.SIGTERM) == 0
            await replica.start()
            await _until_ready(product, port)


async def test_while_the_database_is_away_haproxy_passes_the_503_of_a_replica_on(tmp_path: Path):
    async with running_replicas(tmp_path, 2) as product, _haproxy(tmp_path, product.ports) as url:
        assert product.postgres is not None
        product.postgres.server.stop(signal.SIGKILL)
        async with asyncio.timeout(30):
            # HAProxy's own 503 has no Retry-After.
            while "Retry-After" not in (answered := await _answer(product, url)).headers:
                await asyncio.sleep(0.05)
        assert answered.status == 503
        product.postgres.server.start()
        for port in product.ports:
            await _until_ready(product, port)
        assert (await _answer(product, url)).status == 200


async def _answer(product: Product, url: str) -> aiohttp.ClientResponse:
    async with product.session.get(f"{url}/-/builds") as response:
        await response.read()
        return response
