"""The check of `shuttle doctor --sink URL`: whether a receiver can be reached. It gets no status and no log."""

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import aiohttp

from shuttle.errors import ShuttleError
from shuttle.kafka.clusters import KafkaClusters
from shuttle.outgoing.connector import AddressPolicy, address_policy, outgoing_session
from shuttle.outgoing.endpoints import EndpointKind
from shuttle.outgoing.faults import describe_fault
from shuttle.outgoing.hooks import check_hook_url, kind_of, members_of, shown_host
from shuttle.outgoing.kafka_url import read_kafka_url
from shuttle.outgoing.userinfo import split_userinfo
from shuttle.settings import Settings

_TIMEOUT_SECONDS = 10.0


async def examine_sink(url: str, settings: Settings) -> AsyncIterator[tuple[str, str | None]]:
    """For each member of a hook URL its host and the problem, or None if it can be reached."""
    try:
        check_hook_url(url, "--sink")
    except ShuttleError as error:
        yield "--sink", error.message
        return
    policy = address_policy(settings)
    for member in members_of(url):
        yield shown_host(member), await _EXAMINATIONS[kind_of(member)](member, policy, settings)


async def _kafka(url: str, policy: AddressPolicy, settings: Settings) -> str | None:
    """Connect to the cluster, authenticate, and look up the topic (which may make a cluster create it)."""
    clusters = KafkaClusters(policy, settings)
    try:
        await clusters.check(read_kafka_url(url, "--sink"), timeout_seconds=_TIMEOUT_SECONDS)
    except ShuttleError as error:
        return error.message
    finally:
        await clusters.close()
    return None


async def _http(url: str, policy: AddressPolicy, settings: Settings) -> str | None:
    """Send a HEAD request; any response shows that the receiver is reachable."""
    address = split_userinfo(url)[0]
    try:
        async with (
            outgoing_session(policy, ca_file=settings.shuttle_ca_file) as session,
            session.head(address, allow_redirects=False, timeout=aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)),
        ):
            return None
    except ShuttleError as error:
        return error.message
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        return f"{urlsplit(address).netloc} {describe_fault(error)}."


_EXAMINATIONS = {EndpointKind.HTTP: _http, EndpointKind.KAFKA: _kafka}
