"""The one queue listing: shared while under way, kept for a moment, never kept when it failed."""

import asyncio

import pytest

from shuttle.errors import JenkinsUnavailableError
from shuttle.jenkins import QueueItem
from shuttle.jenkins.queue import Listing, SharedQueue
from tests.unit.jenkins.fake_jenkins import Clock

ITEM = Listing({"u1": QueueItem(1, "in the quiet period", cancelled=False, number=None)})


class Asked:
    """A fetch that a test answers when it likes."""

    def __init__(self) -> None:
        self.times = 0
        self.began = asyncio.Event()
        self.answer: asyncio.Future[Listing] = asyncio.get_running_loop().create_future()

    async def __call__(self) -> Listing:
        self.times += 1
        self.began.set()
        return await asyncio.shield(self.answer)


async def test_a_hundred_askers_share_one_request():
    asked = Asked()
    queue = SharedQueue(asked, clock=Clock())
    askers = [asyncio.create_task(queue.listing()) for _ in range(100)]
    await asked.began.wait()
    asked.answer.set_result(ITEM)
    assert await asyncio.gather(*askers) == [ITEM] * 100
    assert asked.times == 1


async def test_a_young_listing_is_kept_and_an_old_one_asked_for_again():
    asked, clock = Asked(), Clock()
    asked.answer.set_result(ITEM)
    queue = SharedQueue(asked, fresh_seconds=0.5, clock=clock)
    await queue.listing()
    clock.seconds += 0.4
    await queue.listing()
    assert asked.times == 1
    clock.seconds += 0.2
    await queue.listing()
    assert asked.times == 2


async def test_a_failure_is_told_to_all_and_not_kept():
    asked = Asked()
    queue = SharedQueue(asked, clock=Clock())
    askers = [asyncio.create_task(queue.listing()) for _ in range(3)]
    await asked.began.wait()
    asked.answer.set_exception(JenkinsUnavailableError("down"))
    assert {type(error) for error in await asyncio.gather(*askers, return_exceptions=True)} == {JenkinsUnavailableError}
    with pytest.raises(JenkinsUnavailableError):
        await queue.listing()
    assert asked.times == 2


async def test_an_asker_that_is_cancelled_cancels_nobody_else():
    asked = Asked()
    queue = SharedQueue(asked, clock=Clock())
    leaves, stays = asyncio.create_task(queue.listing()), asyncio.create_task(queue.listing())
    await asked.began.wait()
    leaves.cancel()
    await asyncio.wait([leaves])
    asked.answer.set_result(ITEM)
    assert await stays == ITEM
    assert asked.times == 1


async def test_a_failure_after_everybody_left_is_not_complained_about(caplog):
    asked = Asked()
    queue = SharedQueue(asked, clock=Clock())
    leaves = asyncio.create_task(queue.listing())
    await asked.began.wait()
    leaves.cancel()
    await asyncio.wait([leaves])
    asked.answer.set_exception(JenkinsUnavailableError("down"))
    with pytest.raises(JenkinsUnavailableError):
        await queue.listing()
    await queue.close()
    assert not caplog.records


async def test_closing_gives_up_the_request():
    asked = Asked()
    queue = SharedQueue(asked)
    waits = asyncio.create_task(queue.listing())
    await asked.began.wait()
    await queue.close()
    with pytest.raises(asyncio.CancelledError):
        await waits
    await queue.close()
