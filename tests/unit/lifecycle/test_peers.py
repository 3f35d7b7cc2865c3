"""Requests to other replicas end when that replica is considered dead, however long it could still take."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, cast

import aiohttp
import pytest

from shuttle.clock import Clock
from shuttle.errors import NotOwnerError
from shuttle.lifecycle.peers import Peers
from shuttle.peer_signature import PeerSignature
from shuttle.store.replicas import Replica
from tests.support.receivers import Receiver, answering, hanging, silent

CLOCK = Clock()
OWNER = Replica("owner", "b", "", "1", 0, CLOCK.now())


async def answered(peers: Peers, owner: Replica) -> int:
    async with peers.request(owner, "GET", "uuid/log?offset=0") as answer:
        await answer.read()
        return answer.status


async def passed_on(peers: Peers, owner: Receiver, body: AsyncIterator[bytes]) -> int:
    async with peers.request(replace(OWNER, url=owner.url), "POST", "uuid/log", body=body) as answer:
        return answer.status


async def received(owner: Receiver, chunks: int) -> None:
    exchange = await owner.exchange(0)
    await exchange.until(lambda: exchange.chunks == chunks)


class Time:
    """The clock of the test's loop, which the test sets forward."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ahead_seconds = 0.0
        loop = asyncio.get_running_loop()
        real_time = loop.time
        monkeypatch.setattr(loop, "time", lambda: real_time() + self._ahead_seconds)

    def forward(self, seconds: float) -> None:
        self._ahead_seconds += seconds


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


async def test_body_that_arrives_slowly_is_passed_on(monkeypatch: pytest.MonkeyPatch):
    """The owner accepts such a body. If it failed here, the agent would send the same bytes again, without end."""
    async with aiohttp.ClientSession() as session, Receiver(answering(200)) as owner:
        time = Time(monkeypatch)

        async def slow_body() -> AsyncIterator[bytes]:
            for number in (1, 2, 3):
                yield b"log"
                await received(owner, number)
                time.forward(20)

        peers = Peers(cast("Any", None), PeerSignature([b"key"], CLOCK.steady), session)
        assert await passed_on(peers, owner, slow_body()) == 200
        assert (await owner.exchange(0)).body == b"logloglog"


async def test_owner_that_has_the_body_and_does_not_answer_in_time_is_given_up(monkeypatch: pytest.MonkeyPatch):
    async with aiohttp.ClientSession() as session, Receiver(silent) as owner:
        time = Time(monkeypatch)

        async def body() -> AsyncIterator[bytes]:
            yield b"log"
            await received(owner, 1)
            time.forward(26)

        peers = Peers(cast("Any", None), PeerSignature([b"key"], CLOCK.steady), session)
        with pytest.raises(NotOwnerError):
            async with asyncio.timeout(26 + 5):
                await passed_on(peers, owner, body())


async def test_call_to_a_replica_that_is_considered_dead_ends_although_its_body_continues():
    async with aiohttp.ClientSession() as session, Receiver(silent) as frozen:
        peers = Peers(cast("Any", None), PeerSignature([b"key"], CLOCK.steady), session)

        async def body() -> AsyncIterator[bytes]:
            yield b"log"
            await received(frozen, 1)
            peers.end_calls_except({"this"})
            yield b"log"
            await asyncio.Event().wait()

        with pytest.raises(NotOwnerError):
            async with asyncio.timeout(5):
                await passed_on(peers, frozen, body())
