"""The service and Jenkins as processes, with a stand-in for the image builder on the agent's PATH; and a controller."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.controller.controller import Controller
from tests.support.image_builder import agent_path
from tests.support.product import Product, running_product


@pytest.fixture(scope="module")
def builder_notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the stand-in's notes."""
    return tmp_path_factory.mktemp("builder")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def product(tmp_path_factory: pytest.TempPathFactory, builder_notes: Path) -> AsyncIterator[Product]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", agent_path(builder_notes))
        async with running_product(tmp_path_factory.mktemp("product"), executors=8) as running:
            yield running


@pytest_asyncio.fixture(loop_scope="module")
async def controller(product: Product) -> AsyncIterator[Controller]:
    async with Controller(product.url) as running:
        yield running
