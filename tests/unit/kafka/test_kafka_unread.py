"""Brokers that do not read: their connections are closed with what was not sent, and an end does not wait for them."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from aiohappyeyeballs import start_connection
from aiokafka.conn import CloseReason

from shuttle.kafka import connection
from shuttle.kafka.access import Access
from shuttle.kafka.connector import BrokerConnector
from shuttle.outgoing.connector import AddressPolicy, CheckingResolver
from shuttle.outgoing.lookup import AddressInfos
from tests.support.certificates import loopback_tls
from tests.support.kafka_broker import broker
from tests.unit.kafka.test_kafka_traps import send

# More than the kernel takes for a peer that does not read: a send buffer grows to 4 MiB at most.
_MORE_THAN_BUFFERED = 8 * 2**20
_REQUEST_BYTES = 100_000


@pytest.fixture
async def connector() -> AsyncIterator[BrokerConnector]:
    made = BrokerConnector(CheckingResolver(AddressPolicy(allow_loopback=True)))
    yield made
    await made.close()


@pytest.mark.parametrize("is_tls", [False, True])
@pytest.mark.parametrize("reason", [None, CloseReason.CONNECTION_TIMEOUT, CloseReason.IDLE_DROP])
async def test_closed_connection_does_not_wait_for_a_broker_that_does_not_read(connector, tmp_path, reason, is_tls):
    context, ca_file = loopback_tls(tmp_path) if is_tls else (None, None)
    async with broker(tls=context) as running:
        running.most_read_bytes = _REQUEST_BYTES
        access = Access(tls=is_tls, ca_file=ca_file)
        opened = await connector.open("127.0.0.1", running.port, access, request_seconds=5)
        transport = opened._writer.transport
        transport.write(_MORE_THAN_BUFFERED.to_bytes(4, "big") + bytes(_MORE_THAN_BUFFERED))
        await running.until(lambda: running.unread)
        async with asyncio.timeout(5):
            await opened.close(reason=reason)
        assert opened.close() is opened.close(), "a second one does no harm"


@pytest.fixture
def small_send_buffers(monkeypatch) -> None:
    """Connections to brokers whose kernel takes little of a batch that is not read."""

    async def connected(addresses: AddressInfos) -> socket.socket:
        made = await start_connection(addresses)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
        return made

    monkeypatch.setattr(connection, "start_connection", connected)


@pytest.mark.usefixtures("small_send_buffers")
async def test_end_does_not_wait_for_a_former_leader_that_did_not_read(make_clusters, monkeypatch):
    monkeypatch.setattr("random.choice", min)  # `running` gets all requests for metadata
    monkeypatch.setattr("random.shuffle", list.sort)
    async with broker() as running, broker() as hung:
        hung.most_read_bytes = _REQUEST_BYTES
        running.led_by = {"t": hung}
        clusters = make_clusters(SHUTTLE_KAFKA_REQUEST_TIMEOUT_SECONDS="1.5")
        sending = asyncio.ensure_future(send(clusters, running.url(), *["x" * 10_000] * 90))
        await hung.until(lambda: hung.unread)
        running.led_by = {}
        await sending
        async with asyncio.timeout(5):
            await clusters.close()
