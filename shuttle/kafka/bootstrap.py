"""Reaching a cluster: which of its bootstrap hosts greets us first, or why none does."""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress

from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaError

from shuttle.errors import AddressRefusedError, KafkaUnavailableError, ShuttleError
from shuttle.kafka.access import Access, why
from shuttle.kafka.connector import BrokerConnector
from shuttle.outgoing.kafka_url import KafkaAddress, shown_hosts


async def probe_bootstrap(
    address: KafkaAddress, access: Access, connector: BrokerConnector, seconds: float
) -> AIOKafkaConnection:
    """A connection to the first bootstrap host that greets us and takes our credentials; the caller closes it.

    All are asked at once: aiokafka asks one after the other, and each black hole before a good one costs its whole
    timeout. And only here are the reasons seen that aiokafka keeps to its log.

    Raises:
        KafkaUnavailableError: none did within `seconds`; says why for each host.
        AddressRefusedError: the policy forbids every host.
    """
    tasks = {
        asyncio.create_task(_greet(host, port, access, connector, seconds)): f"{host}:{port}"
        for host, port in address.hosts
    }
    greeted: AIOKafkaConnection | None = None
    try:
        async with asyncio.timeout(seconds):
            for greeting in asyncio.as_completed(tasks):
                with suppress(OSError, EOFError, KafkaError, ShuttleError):  # told below, if no other host is better
                    greeted = await greeting
                    break
    except TimeoutError:
        pass
    finally:
        _end_others(tasks, greeted)
    if greeted is None:
        raise _refusal(address, access, tasks)
    return greeted


def _end_others(tasks: Iterable[asyncio.Task[AIOKafkaConnection]], greeted: AIOKafkaConnection | None) -> None:
    """Also those that have just connected; nothing is awaited, so that a cancelled caller leaves nothing open."""

    def close(task: asyncio.Task[AIOKafkaConnection]) -> None:
        if not task.cancelled() and task.exception() is None and task.result() is not greeted:
            task.result().close()

    for task in tasks:
        task.cancel()
        task.add_done_callback(close)


async def _greet(
    host: str, port: int, access: Access, connector: BrokerConnector, seconds: float
) -> AIOKafkaConnection:
    """Connect to one host, learn its protocol versions, and show it our credentials; one that failed is given time."""
    await asyncio.sleep(connector.pause_seconds(host, port))
    return await connector.open(host, port, access, request_seconds=seconds)


def _refusal(
    address: KafkaAddress, access: Access, tasks: Mapping[asyncio.Task[AIOKafkaConnection], str]
) -> ShuttleError:
    reasons: dict[str, str] = {}
    for task, host in tasks.items():
        error = task.exception() if task.done() and not task.cancelled() else TimeoutError()
        if isinstance(error, AddressRefusedError) and len(tasks) == 1:
            return error
        reasons[host] = error.message if isinstance(error, ShuttleError) else why(error or TimeoutError(), access)
    if len(set(reasons.values())) == 1:
        return KafkaUnavailableError(f"Kafka {shown_hosts(address)} {reasons.popitem()[1]}.")
    return KafkaUnavailableError("; ".join(f"Kafka {host} {reason}" for host, reason in reasons.items()) + ".")
