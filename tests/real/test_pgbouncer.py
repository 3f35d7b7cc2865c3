"""Three replicas through pgbouncer in transaction mode, as docs/operating.md describes it; one of them is killed."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.counted_builds import CountedBuilds
from tests.support.free_port import free_port
from tests.support.on_postgres import on_postgres
from tests.support.postgres_server import PASSWORD, USER
from tests.support.product import running_replicas

pytestmark = pytest.mark.timeout(120)

REPLICAS = 3
_CONFIG = """
[databases]
* = host=127.0.0.1 port={server_port} user={user} password={password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {pool_size}
server_login_retry = 1
{as_user}
"""


@asynccontextmanager
async def pgbouncer(folder: Path, server_port: int) -> AsyncIterator[int]:
    """The pooler before the server at this port; yields its own port."""
    port, file = free_port(), folder / "pgbouncer.ini"
    config = _CONFIG.format(
        server_port=server_port,
        user=USER,
        password=PASSWORD,
        port=port,
        pool_size=6 * REPLICAS,
        as_user="user = nobody" if os.geteuid() == 0 else "",
    )
    file.touch(0o600)
    file.write_text(config, encoding="utf-8")
    with (folder / "pgbouncer.out").open("wb") as output:
        process = await asyncio.create_subprocess_exec("pgbouncer", file, stdout=output, stderr=output)
    try:
        async with asyncio.timeout(20):
            while not await asyncio.to_thread(_answers, f"postgresql://{USER}@127.0.0.1:{port}/postgres"):
                assert process.returncode is None, (folder / "pgbouncer.out").read_text()
                await asyncio.sleep(0.05)
        yield port
    finally:
        process.kill()
        await process.wait()


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


async def test_replicas_through_pgbouncer_in_transaction_mode(tmp_path: Path):
    with on_postgres() as postgres:
        direct = postgres.settings["DATABASE_URL"]
        async with pgbouncer(tmp_path, postgres.server.port) as port:
            pooled: Any = {
                "DATABASE_URL": direct.replace(f":{postgres.server.port}/", f":{port}/"),
                "SHUTTLE_DATABASE_LISTEN_URL": direct,
                "SHUTTLE_DATABASE_MIGRATE_URL": direct,
            }
            async with running_replicas(tmp_path, REPLICAS, postgres=postgres, **pooled) as product:
                builds = CountedBuilds(product)
                for index in range(REPLICAS):
                    await builds.submit(f"app{index}", at=index, part_seconds=0.2)
                await builds.until_running()
                await product.replicas[0].kill()
                await builds.until_whole()
                builds.assert_no_bug_was_logged()
