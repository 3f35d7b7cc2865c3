"""What a machine lacks for a test."""

import os
from typing import NoReturn

import pytest


def unchecked(why: str) -> NoReturn:
    """Skip the test; fail it in CI, whose results others rely on: there it must not look as if it had passed."""
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)
