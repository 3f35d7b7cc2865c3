"""The agents of all pipeline tests: machines with a shell and only the programs that a test gives them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.pipelines.agent import SHELLS, Agent


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    """An agent with the first shell."""
    agent = Agent(tmp_path, SHELLS[0])
    yield agent
    agent.clean_up()


@pytest.fixture(params=SHELLS)
def each_agent(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Agent]:
    """An agent with each shell."""
    agent = Agent(tmp_path, request.param)
    yield agent
    agent.clean_up()
