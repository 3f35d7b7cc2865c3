"""Replicas each of which reaches PostgreSQL, Jenkins and S3 through proxies of its own, so that one can be cut off."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.free_port import free_port
from tests.support.on_postgres import OnPostgres, on_postgres
from tests.support.postgres_proxy import PostgresProxy, postgres_proxy
from tests.support.product import TOKEN, USER, Process, Product, running_replicas
from tests.support.tcp_proxy import TcpProxy, tcp_proxy

EXECUTORS = 8
# The proxies, the S3 server and the receivers share one process, which takes some tenths of a second on a busy machine.
_LEASES = {"SHUTTLE_HEARTBEAT_SECONDS": "1", "SHUTTLE_LEASE_SECONDS": "4"}
_PROBE_SECONDS = 0.5


@dataclass
class Links:
    """The proxies of one replica."""

    database: PostgresProxy
    jenkins: TcpProxy
    objects: TcpProxy

    def settings(self, postgres: OnPostgres) -> dict[str, str]:
        """The settings of this replica."""
        return {
            "DATABASE_URL": self.database.url_for(postgres.settings["DATABASE_URL"]),
            "JENKINS_URL": self.jenkins.url.replace("://", f"://{USER}:{TOKEN}@"),
            "S3_LOCATION": self.objects.url,
        }


@asynccontextmanager
async def separate_replicas(
    folder: Path, count: int = 3, *, seed: int = 0, first: Mapping[str, str] | None = None, **settings: str
) -> AsyncIterator[tuple[Product, list[Links]]]:
    """Start the replicas, behind a balancer that takes out those that are not ready.

    `first` are further settings of the first replica.
    """
    jenkins_port = free_port()
    with on_postgres() as postgres:
        async with AsyncExitStack() as stack:
            links = []
            for index in range(count):
                proxies = (
                    await stack.enter_async_context(postgres_proxy(seed + index, postgres.server.port)),
                    await stack.enter_async_context(tcp_proxy(index, 0)),
                    await stack.enter_async_context(tcp_proxy(index, 0)),
                )
                links.append(Links(*proxies))
                links[-1].jenkins.target_port = jenkins_port
                links[-1].objects.target_port = urlsplit(postgres.settings["S3_LOCATION"]).port or 0
            each = [link.settings(postgres) for link in links]
            each[0] |= first or {}
            product = await stack.enter_async_context(
                running_replicas(
                    folder,
                    count,
                    executors=EXECUTORS,
                    jenkins_port=jenkins_port,
                    postgres=postgres,
                    each=each,
                    MAXIMUM_PARALLEL_BUILDS=str(EXECUTORS),
                    **(_LEASES | settings),
                )
            )
            await stack.enter_async_context(product.balancer.probing(_PROBE_SECONDS))
            yield product, links


def freeze(product: Product, index: int) -> Process:
    """Stop the process, as on a machine without CPU time; a balancer would notice, too."""
    frozen = product.replicas[index]
    os.kill(frozen.pid, signal.SIGSTOP)
    product.balancer.cut(product.ports[index])
    return frozen


async def owner_of(product: Product, app_id: str) -> Process | None:
    """The replica that owns the app; None = nobody."""
    assert product.postgres is not None
    query = f"SELECT name FROM replicas JOIN apps ON owner = instance WHERE app_id = '{app_id}'"
    found = await asyncio.to_thread(product.postgres.query, query)
    pids = [int(name.rsplit("-", 1)[1]) for (name,) in found]
    return next((replica for replica in product.replicas if replica.pid in pids), None)


async def until_owner_is_not(product: Product, replica: Process, app_ids: list[str], seconds: float = 60) -> float:
    """Wait until other replicas own those of these apps that have open builds; returns the seconds that it took."""
    assert product.postgres is not None
    postgres, began = product.postgres, asyncio.get_running_loop().time()
    names = ", ".join(f"'{app_id}'" for app_id in app_ids)
    left = (
        f"SELECT FROM apps LEFT JOIN replicas ON owner = instance WHERE app_id IN ({names})"
        f" AND (instance IS NULL OR name LIKE '%-{replica.pid}') AND EXISTS (SELECT FROM builds"
        " WHERE builds.app_id = apps.app_id AND (finished_at IS NULL OR archived_at IS NULL))"
    )
    # The replicas' counters rise each second, also when builds end and no app changes.
    await postgres.until("replicas", lambda: not postgres.query(left), seconds)
    return asyncio.get_running_loop().time() - began


async def until_raised(product: Product, replica: Process) -> None:
    """Wait until the replica has raised its counter three times more, and so has looked at everything again."""
    assert product.postgres is not None
    postgres, query = product.postgres, f"SELECT counter FROM replicas WHERE name LIKE '%-{replica.pid}'"
    before = await asyncio.to_thread(postgres.query, query)
    last = before[0][0] if before else 0
    await postgres.until("replicas", lambda: any(counter >= last + 3 for (counter,) in postgres.query(query)))
