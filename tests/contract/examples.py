"""Examples for property tests of an API: any JSON, and texts with a special meaning; `ask` waits for an answer."""

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tests.support.answer import Answer

texts = st.text(max_size=30) | st.sampled_from(
    ["", "\0", "\ud800", "http://h/", "https://u:p@h:1/x?y#z", "docker://h/o/r:t", "data:,x", "data:;base64,eA==",
     "kafka://h/t", "failover(http://a/)", "http://[::1]/", "http://h:99999/", "script", "sha256:" + "0" * 64, "é" * 20]
)  # fmt: skip
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)

quickly = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)


@pytest.fixture(scope="module")
def runner():
    """An event loop for this module: hypothesis calls its examples one by one, outside of any loop."""
    with asyncio.Runner() as running:
        yield running


def ask(runner: asyncio.Runner, request: Any) -> Answer:
    async def in_time() -> Answer:
        async with asyncio.timeout(5):
            answer: Answer = await request
            return answer

    return runner.run(in_time())
