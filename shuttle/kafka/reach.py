"""Reaching a cluster: which of its bootstrap hosts greets us first, or why none does."""

import asyncio
from collections.abc import Mapping

from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError

from shuttle.errors import AddressRefusedError, KafkaUnavailableError, ShuttleError
from shuttle.kafka.access import Access, why
from shuttle.outgoing.connector import CheckingResolver
from shuttle.outgoing.kafka_url import KafkaAddress, shown_hosts


async def reach(address: KafkaAddress, access: Access, resolver: CheckingResolver, seconds: float) -> str:
    """`host:port` of the first bootstrap host that greets us and takes our credentials.

    All are asked at once: aiokafka asks one after the other, and each black hole before a good one costs its whole
    timeout. And only here are the reasons seen that aiokafka keeps to its log.

    Raises:
        KafkaUnavailableError: none did within `seconds`; says why for each host.
        AddressRefusedError: the policy forbids every host.
    """
    tasks = {
        asyncio.create_task(_greet(host, port, access, resolver)): f"{host}:{port}" for host, port in address.hosts
    }
    try:
        async with asyncio.timeout(seconds):
            for greeting in asyncio.as_completed(tasks):
                try:
                    return await greeting
                except (OSError, EOFError, KafkaError, ShuttleError):
                    continue  # told below, if no other host is better
    except TimeoutError:
        pass
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    raise _refusal(address, access, tasks)


async def _greet(host: str, port: int, access: Access, resolver: CheckingResolver) -> str:
    """Connect to one host, learn its protocol versions, and show it our credentials."""
    await resolver.check(host, port)
    connection = await create_conn(host, port, client_id="build-shuttle", **access.options())
    connection.close()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _refusal(address: KafkaAddress, access: Access, tasks: Mapping[asyncio.Task[str], str]) -> ShuttleError:
    reasons: dict[str, str] = {}
    for task, host in tasks.items():
        error = TimeoutError() if task.cancelled() else task.exception()
        if isinstance(error, AddressRefusedError) and len(tasks) == 1:
            return error
        reasons[host] = error.message if isinstance(error, ShuttleError) else why(error or TimeoutError(), access)
    if len(set(reasons.values())) == 1:
        return KafkaUnavailableError(f"Kafka {shown_hosts(address)} {reasons.popitem()[1]}.")
    return KafkaUnavailableError("; ".join(f"Kafka {host} {reason}" for host, reason in reasons.items()) + ".")
