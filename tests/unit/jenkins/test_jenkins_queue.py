"""The shared queue listing: one request for concurrent callers, cached for a moment; errors are not cached."""

import asyncio

import pytest

from shuttle.errors import JenkinsUnavailableError
from shuttle.jenkins import QueueItem
from shuttle.jenkins.queue import Listing, SharedQueue
from tests.unit.jenkins.fake_jenkins import Clock

ITEM = Listing({"u1": QueueItem(1, "in the quiet period", cancelled=False, number=None)})


class Fetch:
    """A fetch whose answer a test sets."""

    def __init__(self) -> None:
        self.times = 0
        self.began = asyncio.Event()
        self.answer: asyncio.Future[Listing] = asyncio.get_running_loop().create_future()

    async def __call__(self) -> Listing:
        self.times += 1
        self.began.set()
        return await asyncio.shield(self.answer)


async def test_a_hundred_callers_share_one_request():
    fetch = Fetch()
    queue = SharedQueue(fetch, clock=Clock())
    callers = [asyncio.create_task(queue.listing()) for _ in range(100)]
    await fetch.began.wait()
    fetch.answer.set_result(ITEM)
    assert await asyncio.gather(*callers) == [ITEM] * 100
    assert fetch.times == 1


async def test_a_fresh_listing_is_cached_and_an_old_one_fetched_again():
    fetch, clock = Fetch(), Clock()
    fetch.answer.set_result(ITEM)
    queue = SharedQueue(fetch, fresh_seconds=0.5, clock=clock)
    await queue.listing()
    clock.seconds += 0.4
    await queue.listing()
    assert fetch.times == 1
    clock.seconds += 0.2
    await queue.listing()
    assert fetch.times == 2


async def test_an_error_is_raised_in_all_callers_and_not_cached():
    fetch = Fetch()
    queue = SharedQueue(fetch, clock=Clock())
    callers = [asyncio.create_task(queue.listing()) for _ in range(3)]
    await fetch.began.wait()
    fetch.answer.set_exception(JenkinsUnavailableError("down"))
    assert {type(error) for error in await asyncio.gather(*callers, return_exceptions=True)} == {
        JenkinsUnavailableError
    }
    with pytest.raises(JenkinsUnavailableError):
        await queue.listing()
    assert fetch.times == 2


async def test_cancelling_a_caller_does_not_cancel_the_others():
    fetch = Fetch()
    queue = SharedQueue(fetch, clock=Clock())
    cancelled, other = asyncio.create_task(queue.listing()), asyncio.create_task(queue.listing())
    await fetch.began.wait()
    cancelled.cancel()
    await asyncio.wait([cancelled])
    fetch.answer.set_result(ITEM)
    assert await other == ITEM
    assert fetch.times == 1


async def test_an_error_after_all_callers_were_cancelled_is_not_logged(caplog):
    fetch = Fetch()
    queue = SharedQueue(fetch, clock=Clock())
    cancelled = asyncio.create_task(queue.listing())
    await fetch.began.wait()
    cancelled.cancel()
    await asyncio.wait([cancelled])
    fetch.answer.set_exception(JenkinsUnavailableError("down"))
    with pytest.raises(JenkinsUnavailableError):
        await queue.listing()
    await queue.close()
    assert not caplog.records


async def test_close_cancels_the_request():
    fetch = Fetch()
    queue = SharedQueue(fetch)
    waiting = asyncio.create_task(queue.listing())
    await fetch.began.wait()
    await queue.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await queue.close()
