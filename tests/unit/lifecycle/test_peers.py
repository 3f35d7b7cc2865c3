"""Requests to other replicas end when that replica is considered dead, however long it could still take."""

import asyncio
from dataclasses import replace
from typing import Any, cast

import aiohttp
import pytest

from shuttle.clock import Clock
from shuttle.errors import NotOwnerError
from shuttle.lifecycle.peers import Peers
from shuttle.peer_signature import PeerSignature
from shuttle.store.replicas import Replica
from tests.support.receivers import Receiver, answering, hanging

CLOCK = Clock()
OWNER = Replica("owner", "b", "", "1", 0, CLOCK.now())


async def answered(peers: Peers, owner: Replica) -> int:
    async with peers.request(owner, "GET", "uuid/log?offset=0") as answer:
        await answer.read()
        return answer.status


@pytest.mark.parametrize("count", [1, 3])
async def test_calls_to_a_frozen_replica_end_when_it_is_considered_dead(count: int):
    async with aiohttp.ClientSession() as session, Receiver(hanging) as frozen:
        peers = Peers(cast("Any", None), PeerSignature([b"key"], CLOCK.steady), session)
        owner = replace(OWNER, url=frozen.url)
        calls = [asyncio.create_task(answered(peers, owner)) for _ in range(count)]
        await frozen.exchange(count - 1)
        peers.end_calls_except({"owner", "this"})
        for _ in range(5):  # also while they end
            peers.end_calls_except({"this"})
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            assert [type(end) for end in await asyncio.gather(*calls, return_exceptions=True)] == [
                NotOwnerError
            ] * count
        peers.end_calls_except(set())


async def test_calls_to_a_replica_that_lives_are_answered():
    async with aiohttp.ClientSession() as session, Receiver(answering(200)) as living:
        peers = Peers(cast("Any", None), PeerSignature([b"key"], CLOCK.steady), session)
        call = asyncio.create_task(answered(peers, replace(OWNER, url=living.url)))
        await living.exchange(0)
        peers.end_calls_except({"owner"})
        assert await call == 200
