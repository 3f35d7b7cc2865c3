"""Requests builds of several apps all the time, and checks that each of them succeeds with its whole log."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from typing import TypeVar

from tests.support.product import Product, Receiver

_Result = TypeVar("_Result")

# The answers of a replica whose transactions take more than 2.5 s, because the machine has no CPU time for them. No
# restart is the cause: a replica that is being stopped still answers from the database.
_STARVED = ("The database does not answer", "The database is too slow")


@asynccontextmanager
async def builds_all_the_time(product: Product, app_ids: Sequence[str] = ("a", "b", "c")) -> AsyncIterator[None]:
    """Within this context, request one build of each app after the other; fails if a request does or a byte is lost."""
    receivers: dict[tuple[str, str], Receiver] = {}
    done = asyncio.Event()

    async def request_builds(app_id: str) -> None:
        """One build after the other, so that no queue grows."""
        for number in map(str, count()):
            if done.is_set():
                return
            receiver = receivers[app_id, number] = product.receiver(f"{app_id}-{number}")
            await _unless_starved(partial(product.submit, app_id, number, "#!/bin/sh\nseq 1 50\n", receiver))
            assert (await _unless_starved(partial(product.build, app_id, number)))["build_id"] == number
            await receiver.until(lambda receiver=receiver: receiver.final and receiver.log_ended, 150)

    async with asyncio.TaskGroup() as load:
        for app_id in app_ids:
            load.create_task(request_builds(app_id))
        try:
            yield
        finally:
            done.set()
    for build, receiver in receivers.items():
        assert receiver.words() == ["queued", "pending", "succeeded"], build
        assert receiver.final["log_sha256"] == hashlib.sha256(bytes(receiver.log)).hexdigest()


async def _unless_starved(request: Callable[[], Awaitable[_Result]]) -> _Result:
    """Make the request, and repeat it while the machine is too busy for the database."""
    while True:
        try:
            return await request()
        except AssertionError as error:
            if not any(answer in str(error) for answer in _STARVED):
                raise
