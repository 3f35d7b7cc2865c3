"""A service with tokens of both roles that the tests of a module share, and calls below `/-/state`."""

from collections.abc import AsyncIterator
from itertools import count

import pytest
import pytest_asyncio

from tests.support.inprocess import Shuttle, running_shuttle

CONTROLLER, READER = "controller-token-0001", "reader-token-0000001"
_NUMBERS = count(1)


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return f"name-{next(_NUMBERS)}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def state(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shuttle]:
    """A service whose Jenkins is down; its URL ends with `/-/state`, and calls have a controller's key."""
    tokens = f"controller:{CONTROLLER},reader:{READER}"
    async with running_shuttle(tmp_path_factory.mktemp("state"), SHUTTLE_TOKENS=tokens) as shuttle:
        shuttle.headers = {"X-API-Key": CONTROLLER}
        yield shuttle
