"""Probes the bootstrap hosts of a cluster: returns the first one that answers, or says why none does."""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress

from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaError

from shuttle.errors import AddressRefusedError, KafkaUnavailableError, ShuttleError
from shuttle.kafka.access import Access, describe_fault
from shuttle.kafka.connector import BrokerConnector
from shuttle.outgoing.kafka_url import KafkaAddress, shown_hosts


async def probe_bootstrap(
    address: KafkaAddress, access: Access, connector: BrokerConnector, seconds: float
) -> AIOKafkaConnection:
    """A connection to the first bootstrap host that answers and accepts the credentials; the caller closes it.

    All hosts are tried at once. aiokafka tries them one after the other, so each host that does not answer would cost
    its whole timeout, and it only logs the reasons.

    Raises:
        KafkaUnavailableError: no host answered within `seconds`; the message says why for each host.
        AddressRefusedError: the policy forbids every host.
    """
    tasks = {
        asyncio.create_task(_connect(host, port, access, connector, seconds)): f"{host}:{port}"
        for host, port in address.hosts
    }
    connected: AIOKafkaConnection | None = None
    try:
        async with asyncio.timeout(seconds):
            for attempt in asyncio.as_completed(tasks):
                with suppress(OSError, EOFError, KafkaError, ShuttleError):  # raised below if no host answers
                    connected = await attempt
                    break
    except TimeoutError:
        pass
    finally:
        _end_others(tasks, connected)
    if connected is None:
        raise _error(address, access, tasks)
    return connected


def _end_others(tasks: Iterable[asyncio.Task[AIOKafkaConnection]], connected: AIOKafkaConnection | None) -> None:
    """End the other attempts and close their connections, without an await: a cancelled caller leaves none open."""

    def close(task: asyncio.Task[AIOKafkaConnection]) -> None:
        if not task.cancelled() and task.exception() is None and task.result() is not connected:
            task.result().close()

    for task in tasks:
        task.cancel()
        task.add_done_callback(close)


async def _connect(
    host: str, port: int, access: Access, connector: BrokerConnector, seconds: float
) -> AIOKafkaConnection:
    """Connect to one host, learn its protocol versions and present the credentials; waits for the host's backoff."""
    await asyncio.sleep(connector.pause_seconds(host, port))
    return await connector.open(host, port, access, request_seconds=seconds)


def _error(
    address: KafkaAddress, access: Access, tasks: Mapping[asyncio.Task[AIOKafkaConnection], str]
) -> ShuttleError:
    reasons: dict[str, str] = {}
    for task, host in tasks.items():
        error = task.exception() if task.done() and not task.cancelled() else TimeoutError()
        if isinstance(error, AddressRefusedError) and len(tasks) == 1:
            return error
        reasons[host] = (
            error.message if isinstance(error, ShuttleError) else describe_fault(error or TimeoutError(), access)
        )
    if len(set(reasons.values())) == 1:
        return KafkaUnavailableError(f"Kafka {shown_hosts(address)} {reasons.popitem()[1]}.")
    return KafkaUnavailableError("; ".join(f"Kafka {host} {reason}" for host, reason in reasons.items()) + ".")
