"""Measures accepted POSTs per second for both APIs and databases, compared with a handler that makes one insert.

Every POST is durable before its response. The load generator and both servers are separate processes on loopback. The
servers are measured alternately, so that a busy machine affects both equally; the ratio is the median of all rounds.
"""

import asyncio
import json
import multiprocessing
import socket
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import aiohttp
import sqlalchemy as sa
from aiohttp import web

SECONDS = 2.0
ROUNDS = 5
CONNECTIONS = (1, 10, 50)


# The n-th request of a connection: path and body.
Requests = Callable[[str, int], tuple[str, bytes]]


def new_requests(source_url: str) -> Requests:
    """Requests of the new API, without webhooks."""
    body = json.dumps(
        {
            "source": {"url": source_url},
            "pipeline": "script",
            "arguments": {"NODE_ENV": "production"},
            "metadata": {"commit": "0123456789abcdef"},
        }
    ).encode()
    return lambda lane, number: (f"{lane}/{number}", body)


def legacy_requests(source_url: str) -> Requests:
    """Requests with the fields of the real client, but without callback and Kafka; app, uuid and number differ."""
    fields = {
        "sha": "0123456789abcdef0123456789abcdef01234567",
        "app": "shop",
        "space": "default",
        "branch": "main",
        "repo": "https://git.example/org/shop",
        "org": "org",
        "kafka_hosts": "",
        "sources": source_url,
        "build_args": {"NODE_ENV": "production"},
        "gm_registry_host": "registry.example",
        "gm_registry_repo": "org",
        "docker_registry": "",
        "docker_login": "",
        "docker_password": "",
    }
    template = json.dumps(fields)[1:]

    def request(lane: str, number: int) -> tuple[str, bytes]:
        app_uuid = uuid.uuid5(uuid.NAMESPACE_OID, lane)
        own = f'{{"build_uuid":"{uuid.uuid4()}","app_uuid":"{app_uuid}","build_number":{number + 1},'
        return "", (own + template).encode()

    return request


# Settings in the environment, in addition to the port and the folder.
Settings = dict[str, str]


def bare_server(folder: str, port: int, settings: Settings) -> None:
    """The server to compare with: aiohttp, json.loads, and one insert by the same database threads."""
    from shuttle.app import open_database
    from shuttle.clock import Clock
    from shuttle.settings import load_settings
    from shuttle.store import Tx

    table = sa.Table("t", sa.MetaData(), sa.Column("id", sa.Text), sa.Column("body", sa.LargeBinary))

    async def serve() -> None:
        database = open_database(load_settings({"SHUTTLE_DATA_DIR": folder, **settings}), Clock())
        await database.migrate()
        await database.run(lambda tx: table.create(tx.connection))

        def insert(tx: Tx, row: dict[str, bytes | str | None]) -> None:
            tx.execute(table.insert(), row)

        async def post(request: web.Request) -> web.Response:
            body = await request.read()
            json.loads(body)
            row = {"id": request.match_info.get("build_id"), "body": body}
            await database.run(insert, row)
            return web.json_response({"status": "OK"})

        app = web.Application()
        app.router.add_post("/{app_id}/{build_id}", post)
        app.router.add_post("/", post)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await asyncio.Event().wait()

    asyncio.run(serve())


def shuttle_server(folder: str, port: int, settings: Settings) -> None:
    """The product. Its Jenkins is unreachable, so builds wait after they are accepted."""
    from shuttle.serve import serve
    from shuttle.settings import load_settings

    environment = {
        "PORT": str(port),
        "SHUTTLE_DATA_DIR": folder,
        "JENKINS_URL": "http://u:t@127.0.0.1:9/",
        "SHUTTLE_QUEUE_LIMIT": "1000000",
        "SHUTTLE_STAGE_TIMEOUT_SECONDS": "3600",
        **settings,
    }
    asyncio.run(serve(load_settings(environment)))


async def load(port: int, connections: int, run: str, requests: Requests) -> float:
    """Responses per second over `connections` connections."""
    done = 0
    ends_at = time.perf_counter() + SECONDS

    async def poster(session: aiohttp.ClientSession, lane: int) -> None:
        nonlocal done
        number = 0
        while time.perf_counter() < ends_at:
            path, body = requests(f"{run}-{lane}", number)
            url = f"http://127.0.0.1:{port}/{path}"
            async with session.post(url, data=body, headers={"Content-Type": "application/json"}) as response:
                if response.status not in {200, 202}:
                    raise SystemExit(f"unexpected: {response.status} {await response.text()}")
                await response.read()
            number += 1
            done += 1

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=connections)) as session:
        started = time.perf_counter()
        await asyncio.gather(*(poster(session, lane) for lane in range(connections)))
        return done / (time.perf_counter() - started)


async def until_serving(port: int) -> None:
    """Wait until the server serves; while it waits for its database it responds 503."""
    async with aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(f"http://127.0.0.1:{port}/-/openapi.json") as response:
                    if response.status != 503:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)


@contextmanager
def serving(server: Callable[[str, int, Settings], None], port: int, settings: Settings) -> Iterator[None]:
    """Run a server in its own process and folder."""
    with tempfile.TemporaryDirectory() as folder:
        process = multiprocessing.get_context("spawn").Process(
            target=server, args=(folder, port, settings), daemon=True
        )
        process.start()
        try:
            asyncio.run(until_serving(port))
            yield
        finally:
            process.kill()
            process.join()


def main() -> int:
    """Print a table for each API on each database."""
    from tests.support.on_postgres import on_postgres

    # The host of the sources accepts connections but sends nothing, so that staging takes no CPU time.
    with (
        socket.create_server(("127.0.0.1", 0), backlog=4096) as silent,
        on_postgres({"fsync": "on"}) as postgres,
    ):
        source_url = f"http://127.0.0.1:{silent.getsockname()[1]}/source.tar.gz"
        for route, requests in (("/:app_id/:build_id", new_requests), ("/ (legacy)", legacy_requests)):
            table(f"{route} on SQLite", requests(source_url), {}, {})
            own = [postgres.settings | {"DATABASE_URL": postgres.server.new_url()} for _ in range(2)]
            table(f"{route} on PostgreSQL", requests(source_url), *own)
    return 0


def table(title: str, requests: Requests, bare_settings: Settings, our_settings: Settings) -> None:
    """Measure one API on one database, and print the result."""
    from tests.support.free_port import free_port

    bare_port, our_port = free_port(), free_port()
    print(f"accepted POSTs/s of {title}, durable before the answer")
    print(f"{'connections':>12} {'bare':>8} {'shuttle':>8} {'ratio':>6}   goal 0.50 at 1 and 50")
    with serving(bare_server, bare_port, bare_settings), serving(shuttle_server, our_port, our_settings):
        for connections in CONNECTIONS:
            bare, ours = [], []
            for number in range(ROUNDS):
                run = f"c{connections}-{number}"
                bare.append(asyncio.run(load(bare_port, connections, run, requests)))
                ours.append(asyncio.run(load(our_port, connections, run, requests)))
            ratio = statistics.median(our_speed / bare_speed for bare_speed, our_speed in zip(bare, ours, strict=True))
            print(f"{connections:>12} {statistics.median(bare):>8.0f} {statistics.median(ours):>8.0f} {ratio:>6.2f}")


if __name__ == "__main__":
    sys.exit(main())
