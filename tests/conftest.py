"""Settings for all tests: reproducible examples and names, the order of the files, garbage collection."""

import gc
import os
import sys
from collections.abc import Generator
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, settings

# Imported and collected objects live to the end. Collecting garbage among them took a third of pytest's collection
# time. They are frozen afterwards, so that they cost the tests nothing either.
gc.disable()
# pytest caches the modules whose assertions it rewrites: those of the tests and of plugins, of which Hypothesis has a
# hundred. Processes that tests start write no bytecode: some tests limit the size of files that a process writes, and
# such a process would leave a truncated file.
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
sys.dont_write_bytecode = False

# `make test` tries a few examples of each property, `make scenarios ARGS=--long` many.
for profile, count in (("repeatable", 40), ("thorough", 300)):
    settings.register_profile(
        profile,
        max_examples=count,
        derandomize=True,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        database=None,
    )

# The default formatter prints all local variables, which takes minutes when a property test logs thousands of errors.
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)

_LONGEST_IN_A_NAME = 12


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the tests with the mark `long` as well")


# These files take up to a minute each. If they started last, one worker would run alone at the end.
_LONGEST_FOLDERS = ("tests/service/", "tests/controller/", "tests/unit/pipelines/")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    result = yield
    sys.dont_write_bytecode = True
    gc.freeze()
    # As in the service (`shuttle.serve.collect_less_often`): a tenth of the time of tests in one process (measured).
    gc.set_threshold(50_000, 20, 50)
    gc.enable()
    return result


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run the longest files first, in the order in which they were collected; leave out what takes minutes."""
    if not config.getoption("--long"):
        left_out = [item for item in items if item.get_closest_marker("long")]
        items[:] = [item for item in items if not item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=left_out)
    items.sort(key=lambda item: not item.nodeid.startswith(_LONGEST_FOLDERS))


def pytest_make_parametrize_id(config: pytest.Config, val: Any, argname: str) -> str | None:
    """Number long bytes in test names: an archive made during collection contains the time, so names would differ."""
    return argname if isinstance(val, bytes) and len(val) > _LONGEST_IN_A_NAME else None
