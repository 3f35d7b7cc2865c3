"""Makes aiokafka's client connect with a `BrokerConnector`: by itself it resolves names again after our check."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from shuttle.errors import AddressRefusedError
from shuttle.kafka.access import Access
from shuttle.kafka.connector import BrokerConnector

# Connecting takes few round trips. Its timeout is shorter than that of a request: a hanging broker is noticed sooner.
_CONNECT_SECONDS = 5.0
# aiokafka waits 0.1 s before it requests a connection again, but not at all if only metadata is missing.
_RETRY_SECONDS = 0.1
_BOOTSTRAP = ("bootstrap", ConnectionGroup.DEFAULT)


def report_failure(failed: Callable[[Exception], None], task: asyncio.Task[None]) -> None:
    """Call `failed` if an error has ended a task of aiokafka, which nobody awaits."""
    error = None if task.cancelled() else task.exception()
    if isinstance(error, Exception):
        failed(error)


class CheckedClient:
    """Replaces the two methods of a client that open connections, before its first use.

    It has a lock for each broker instead of one for the whole client, and a shorter timeout. Otherwise a broker that
    hangs would block connections to all others for the time of a request, again and again.
    """

    def __init__(
        self,
        client: AIOKafkaClient,
        bootstrap: AIOKafkaConnection,
        connector: BrokerConnector,
        access: Access,
        *,
        request_seconds: float,
        failed: Callable[[Exception], None],
    ) -> None:
        """The brokers are learned from `bootstrap` (`probe_bootstrap`).

        `failed` is called with an AddressRefusedError for each forbidden broker, and with the error that ends the
        client's task for metadata: without it nothing is learned any more.
        """
        self._client = client
        self._connector = connector
        self._access = access
        self._request_seconds = request_seconds
        self._failed = failed
        self._closed = False
        self._locks: defaultdict[Any, asyncio.Lock] = defaultdict(asyncio.Lock)
        client._conns[_BOOTSTRAP] = bootstrap  # noqa: SLF001 - the client closes it, whatever happens
        client._get_conn = self._connection  # noqa: SLF001 - it gets all its connections from this method
        client.bootstrap = self._bootstrap

    async def _bootstrap(self) -> None:
        """Learn the brokers, and then close the connection as aiokafka does. Raises whatever aiokafka does."""
        client, bootstrap = self._client, self._client._conns[_BOOTSTRAP]  # noqa: SLF001
        client.cluster.update_metadata(await bootstrap.send(MetadataRequest([])))
        if client.cluster.brokers():
            del client._conns[_BOOTSTRAP]  # noqa: SLF001
            bootstrap.close()
        synchronizing = client._sync_task = asyncio.create_task(client._md_synchronizer())  # noqa: SLF001
        synchronizing.add_done_callback(partial(report_failure, self._failed))

    async def _connection(
        self, node_id: Any, *, group: Any = ConnectionGroup.DEFAULT, **_hints: bool
    ) -> AIOKafkaConnection | None:
        """The open connection or a new one; None = the broker cannot be reached now."""
        which = (node_id, group)
        async with self._locks[which]:
            connection = self._client._conns.get(which)  # noqa: SLF001
            if connection is not None and connection.connected():
                return connection
            self._client._conns.pop(which, None)  # noqa: SLF001
            connection = None if self._closed else await self._new_connection(node_id)
            if connection is not None:
                self._client._conns[which] = connection  # noqa: SLF001
            if self._closed and connection is not None:
                connection.close()
            return connection

    def close(self) -> None:
        """Open no more connections: tasks of the client that are about to end may still request some."""
        self._closed = True

    async def _new_connection(self, node_id: Any) -> AIOKafkaConnection | None:
        broker = self._client.cluster.broker_metadata(node_id)
        if broker is None:
            self._client.force_metadata_update()
            return None
        pause_seconds = self._connector.pause_seconds(broker.host, broker.port)
        if pause_seconds:
            await asyncio.sleep(min(pause_seconds, _RETRY_SECONDS))
            return None
        try:
            async with asyncio.timeout(min(self._request_seconds, _CONNECT_SECONDS)):
                return await self._connector.open(
                    broker.host,
                    broker.port,
                    self._access,
                    request_seconds=self._request_seconds,
                    on_close=self._client._on_connection_closed,  # noqa: SLF001
                )
        except AddressRefusedError as error:
            self._failed(error)
        except (OSError, EOFError, KafkaError, TimeoutError):
            self._client.force_metadata_update()  # as in aiokafka: the partition may have another leader
        return None
