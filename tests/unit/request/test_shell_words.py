"""Words of a line: the same as those of shlex, and in linear time."""

import shlex
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shuttle.request.shell_words import shell_words


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
    "line",
    [
        "A=" + "x" * 1_000_000,
        "A='" + "x" * 1_000_000 + "'",
        'A="' + '\\"' * 500_000 + '"',
        "A=" + "\\x" * 500_000,
        'A="' + "x" * 1_000_000,
        "''" * 250_000,
        "x " * 250_000,
    ],
)
def test_long_words_take_linear_time(line: str) -> None:
    began_at = time.process_time()
    try:
        words = list(shell_words(line))
    except ValueError:
        words = []
    assert time.process_time() - began_at < 1.5, len(words)
