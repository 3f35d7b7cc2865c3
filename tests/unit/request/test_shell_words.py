"""Words of a line: the same as those of shlex, and in linear time."""

import shlex
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shuttle.request.shell_words import shell_words
from tests.support.cpu_time import growth


@given(st.text(alphabet="aA= \t\n\r\\'\"#$ü\x0b\u2028", max_size=30))
def test_words_are_those_of_shlex(line: str) -> None:
    try:
        expected = shlex.split(line)
    except ValueError:
        with pytest.raises(ValueError, match="an open quote or escape"):
            list(shell_words(line))
    else:
        assert list(shell_words(line)) == expected


@pytest.mark.parametrize(
    ("begin", "repeated"),
    [("A=", "x"), ("A='", "x"), ('A="', '\\"'), ("A=", "\\x"), ('A="', "x"), ("", "''"), ("", "x ")],
)
def test_long_words_take_linear_time(begin: str, repeated: str) -> None:
    def splitting(size: int) -> Callable[[], object]:
        line = begin + repeated * size

        def split() -> None:
            with suppress(ValueError):  # the quotes of some are open
                list(shell_words(line))

        return split

    assert growth(splitting, 20_000, 8) < 24
