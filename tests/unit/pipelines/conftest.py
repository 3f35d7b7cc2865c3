"""Agents of all pipelines' tests: machines with a shell and nothing but what a step is given."""

from pathlib import Path

import pytest

from tests.unit.pipelines.agent import SHELLS, Agent


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    """One, with the first shell."""
    return Agent(tmp_path, SHELLS[0])


@pytest.fixture(params=SHELLS)
def each_agent(request: pytest.FixtureRequest, tmp_path: Path) -> Agent:
    """One with each shell."""
    return Agent(tmp_path, request.param)
