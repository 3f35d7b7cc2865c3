"""aiokafka's client, made to connect by a `BrokerConnector`: it would resolve names again after they were checked."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from shuttle.errors import AddressRefusedError
from shuttle.kafka.access import Access
from shuttle.kafka.connector import BrokerConnector

# Connecting takes a round trip or a few; a broker that hangs is known by it sooner than by a request.
_CONNECT_SECONDS = 5.0
# aiokafka asks for a connection again after 0.1 s, and at once where only metadata is missing.
_TURN_SECONDS = 0.1
_BOOTSTRAP = ("bootstrap", ConnectionGroup.DEFAULT)


class CheckedClient:
    """Replaces the two methods of a client that open connections, before its first use.

    Its one lock for connecting anywhere becomes one for each broker, with a shorter limit: else a broker that hangs
    keeps it from all others for a whole request's time, and again whenever it is chosen to be asked.
    """

    def __init__(
        self,
        client: AIOKafkaClient,
        greeted: AIOKafkaConnection,
        connector: BrokerConnector,
        access: Access,
        *,
        request_seconds: float,
        refused: Callable[[AddressRefusedError], None],
    ) -> None:
        """Of `greeted`, see `reach`, the cluster's brokers are learned; `refused` is called for each forbidden one."""
        self._client = client
        self._connector = connector
        self._access = access
        self._request_seconds = request_seconds
        self._refused = refused
        self._closed = False
        self._locks: defaultdict[Any, asyncio.Lock] = defaultdict(asyncio.Lock)
        client._conns[_BOOTSTRAP] = greeted  # noqa: SLF001 - the client closes it, whatever happens
        client._get_conn = self._connection  # noqa: SLF001 - the one place that all its connections come from
        client.bootstrap = self._bootstrap

    async def _bootstrap(self) -> None:
        """The greeted connection is kept until brokers are known, as in aiokafka. Raises KafkaError, TimeoutError."""
        client, greeted = self._client, self._client._conns[_BOOTSTRAP]  # noqa: SLF001
        client.cluster.update_metadata(await greeted.send(MetadataRequest([])))
        if client.cluster.brokers():
            del client._conns[_BOOTSTRAP]  # noqa: SLF001
            greeted.close()
        client._sync_task = asyncio.create_task(client._md_synchronizer())  # noqa: SLF001

    async def _connection(
        self, node_id: Any, *, group: Any = ConnectionGroup.DEFAULT, **_hints: bool
    ) -> AIOKafkaConnection | None:
        """The open one or a new one; None = the broker cannot be connected to now."""
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
        """Open nothing more: tasks of the client that are about to end may still ask for connections."""
        self._closed = True

    async def _new_connection(self, node_id: Any) -> AIOKafkaConnection | None:
        broker = self._client.cluster.broker_metadata(node_id)
        if broker is None:
            self._client.force_metadata_update()
            return None
        pause_seconds = self._connector.pause_seconds(broker.host, broker.port)
        if pause_seconds:
            await asyncio.sleep(min(pause_seconds, _TURN_SECONDS))
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
            self._refused(error)
        except (OSError, EOFError, KafkaError, TimeoutError):
            self._client.force_metadata_update()  # as aiokafka does: the partition may have another leader
        return None
