"""What all tests share: the same examples and names everywhere, the order of the files, no search for garbage."""

import gc
import sys
from collections.abc import Generator
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, settings

# What is imported and collected stays to the end. Looking for garbage among it, again and again while it grows, was a
# third of a collection's time; frozen, it costs the tests nothing either.
gc.disable()
# pytest's own form of a test's module, with the assertions taken apart, is kept for the next run: half of a collection.
# The processes that tests start go on writing none, see the Makefile.
_WRITES_NONE, sys.dont_write_bytecode = sys.dont_write_bytecode, False

settings.register_profile(
    "repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)

# The default draws a traceback with all local variables: minutes, where a property test makes thousands of them.
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)

_LONGEST_IN_A_NAME = 12

# Their files take up to a minute each: begun last, one would run alone at the end.
_LONGEST_FOLDERS = ("tests/quick/", "tests/controller/", "tests/unit/pipelines/")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    result = yield
    sys.dont_write_bytecode = _WRITES_NONE
    gc.freeze()
    gc.enable()
    return result


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files come first, in the order in which they were collected."""
    items.sort(key=lambda item: not item.nodeid.startswith(_LONGEST_FOLDERS))


def pytest_make_parametrize_id(config: pytest.Config, val: Any, argname: str) -> str | None:
    """Long bytes are numbered: an archive made at collection holds the time, and two processes must agree on names."""
    return argname if isinstance(val, bytes) and len(val) > _LONGEST_IN_A_NAME else None
