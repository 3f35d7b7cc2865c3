"""Connections to brokers: to checked addresses only, also if a name changes its address, and with backoff."""

import asyncio
import itertools
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from shuttle.errors import KafkaUnavailableError, ShuttleError
from shuttle.kafka.access import access_to
from shuttle.kafka.connector import BrokerConnector
from shuttle.kafka.topic import messages_of
from shuttle.outgoing.connector import AddressPolicy, CheckingResolver
from shuttle.outgoing.kafka_url import read_kafka_url
from shuttle.settings import load_settings
from tests.support.certificates import loopback_tls
from tests.support.kafka_broker import HANG_UP, METADATA, PRODUCE, PRODUCER_ID, VERSIONS, Broker, broker, no_faults
from tests.unit.kafka.test_kafka_traps import send

ALLOWED, FORBIDDEN = "127.0.0.1", "127.0.0.2"
ONLY_ALLOWED = {"allow_loopback": False, "SHUTTLE_ALLOW_NETWORKS": f"{ALLOWED}/32"}


def resolve_to(monkeypatch: pytest.MonkeyPatch, addresses: Iterator[str]) -> None:
    """Resolve names that end with `example` to the next of these addresses, each time."""
    system = socket.getaddrinfo

    def getaddrinfo(host, port, *arguments, **options):
        if str(host).endswith("example"):
            host = next(addresses)
        return system(host, port, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@asynccontextmanager
async def forbidden_listener(port: int) -> AsyncIterator[list[object]]:
    """Yields the connections that arrive at the forbidden address."""
    arrived: list[object] = []

    def note(_reader, writer):
        arrived.append(writer)
        writer.close()

    server = await asyncio.start_server(note, FORBIDDEN, port)
    try:
        yield arrived
    finally:
        server.close()


@pytest.mark.parametrize("is_advertised", [False, True])
@pytest.mark.parametrize("offset", [0, 1])
async def test_connections_go_to_the_checked_address_if_the_name_changes_it(
    make_clusters, monkeypatch, is_advertised, offset
):
    addresses = itertools.cycle([ALLOWED, FORBIDDEN])
    resolve_to(monkeypatch, itertools.islice(addresses, offset, None))
    async with broker() as running, forbidden_listener(running.port) as arrived:
        running.advertised = ("broker.example", running.port)
        url = running.url() if is_advertised else f"kafka://rebound.example:{running.port}/t"
        clusters = make_clusters(**ONLY_ALLOWED)
        for _ in range(4):
            try:
                await send(clusters, url, "a", timeout_seconds=1)
            except ShuttleError:
                abort_all(running)
        assert not arrived


async def test_topic_is_read_from_allowed_addresses_only(monkeypatch):
    resolve_to(monkeypatch, itertools.repeat(FORBIDDEN))
    policy = AddressPolicy(
        allow_loopback=False,
        allow_networks=load_settings({"SHUTTLE_ALLOW_NETWORKS": f"{ALLOWED}/32"}).shuttle_allow_networks,
    )
    connector = BrokerConnector(CheckingResolver(policy))
    async with broker() as running, forbidden_listener(running.port) as arrived:
        running.advertised = ("broker.example", running.port)
        address = read_kafka_url(running.url(), "test")
        reading = messages_of("u", address, access_to(address, load_settings({})), connector, timeout_seconds=1)
        with pytest.raises(ShuttleError):
            await anext(reading)
        assert not arrived
    await connector.close()


async def test_allowed_addresses_of_a_name_are_used(make_clusters, monkeypatch):
    system = socket.getaddrinfo

    def both(host, port, *arguments, **options):
        hosts = (FORBIDDEN, ALLOWED) if host == "both.example" else (host,)
        return [found for each in hosts for found in system(each, port, *arguments, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    async with broker() as running, forbidden_listener(running.port) as arrived:
        await send(make_clusters(**ONLY_ALLOWED), f"kafka://both.example:{running.port}/t", "a")
        assert running.values == [b"a"]
        assert not arrived


async def test_tls_uses_the_host_name_and_not_its_address(make_clusters, monkeypatch, tmp_path):
    resolve_to(monkeypatch, itertools.repeat(ALLOWED))
    context, ca_file = loopback_tls(tmp_path, "broker.example")
    named: list[str | None] = []

    def note(_tls: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        named.append(name)

    context.sni_callback = note
    async with broker(tls=context) as running:
        running.advertised = ("broker.example", running.port)
        clusters = make_clusters(SHUTTLE_CA_FILE=str(ca_file))
        await send(clusters, f"kafka+ssl://broker.example:{running.port}/t", "a")
        assert running.values == [b"a"]
        assert set(named) == {"broker.example"}
        with pytest.raises(KafkaUnavailableError, match="certificate for other host names"):
            await send(clusters, f"kafka+ssl://other.example:{running.port}/t", "a")


@pytest.mark.slow
@pytest.mark.parametrize("api", [VERSIONS, METADATA, PRODUCER_ID, PRODUCE])
async def test_broker_that_closes_connections_is_retried_with_backoff(make_clusters, api):
    async with broker() as running:
        running.answering = hanging_up_at(api)
        clusters = make_clusters()
        ended_at = asyncio.get_running_loop().time() + 1.6
        while (left_seconds := ended_at - asyncio.get_running_loop().time()) > 0:
            with pytest.raises(KafkaUnavailableError):
                await send(clusters, running.url(), "a", timeout_seconds=left_seconds)
        assert 3 <= running.connections <= 8
        running.answering = no_faults
        await send(clusters, running.url(), "b")
        assert running.values[-1] == b"b"


def hanging_up_at(api: int):
    async def answering(asked: int) -> str | None:
        return HANG_UP if asked == api else None

    return answering


async def test_single_broken_connection_is_replaced_at_once(make_clusters):
    async with broker() as running:
        clusters = make_clusters()
        for value in ("a", "b"):
            await send(clusters, running.url(), value, timeout_seconds=1)
            abort_all(running)
        await send(clusters, running.url(), "c", timeout_seconds=1)
        assert running.values == [b"a", b"b", b"c"]


@pytest.mark.slow
async def test_replaced_producer_causes_no_backoff_for_the_next_one(make_clusters):
    async with broker() as running:
        running.max_batch_bytes = 500
        began = asyncio.get_running_loop().time()
        await send(make_clusters(), running.url(), *(f"{number} " + "x" * 400 for number in range(400)))
        assert asyncio.get_running_loop().time() - began < 5  # 9 producers, and no pause of up to 2 s before each


def abort_all(running: Broker) -> None:
    for each in list(running.writers):
        each.transport.abort()
