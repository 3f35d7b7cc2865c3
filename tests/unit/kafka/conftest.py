"""Clusters as the product composes them, with short timeouts."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest

from shuttle.kafka.clusters import KafkaClusters
from shuttle.outgoing.connector import AddressPolicy
from shuttle.settings import load_settings

MakeClusters = Callable[..., KafkaClusters]


@pytest.fixture
async def make_clusters() -> AsyncIterator[MakeClusters]:
    """Makes KafkaClusters with the given settings; they are closed after the test."""
    async with AsyncExitStack() as stack:

        def make(*, allow_loopback: bool = True, **settings: str) -> KafkaClusters:
            environment = {"SHUTTLE_KAFKA_REQUEST_TIMEOUT_SECONDS": "5", **settings}
            checked = load_settings(environment)
            policy = AddressPolicy(allow_loopback=allow_loopback, allow_networks=checked.shuttle_allow_networks)
            made = KafkaClusters(policy, checked)
            stack.push_async_callback(made.close)
            return made

        yield make


@pytest.fixture
def clusters(make_clusters: MakeClusters) -> KafkaClusters:
    return make_clusters()
