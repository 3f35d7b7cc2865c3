"""What all tests share: property tests try the same examples, and tests have the same names, everywhere."""

from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, settings

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files come first, in the order in which they were collected."""
    items.sort(key=lambda item: not item.nodeid.startswith(_LONGEST_FOLDERS))


def pytest_make_parametrize_id(config: pytest.Config, val: Any, argname: str) -> str | None:
    """Long bytes are numbered: an archive made at collection holds the time, and two processes must agree on names."""
    return argname if isinstance(val, bytes) and len(val) > _LONGEST_IN_A_NAME else None
