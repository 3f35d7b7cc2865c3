"""Invalid UTF-8 is replaced in the same way at every position of a large text."""

import pytest

from shuttle.logs.utf8 import repaired

PIECES = (
    b"\xe2\x82\xac",
    b"\xf0\x9f\x98\x80",
    b"\xff",
    b"\xe2\x82",
    b"\xf0\x9f",
    b"\x82",
    b"\xc3\xa9\xff",
    b"\xed\xa0\x80",
)


@pytest.mark.parametrize("piece", PIECES, ids=repr)
def test_valid_and_invalid_characters_at_every_block_edge(piece: bytes) -> None:
    for around in (b"a", "ż".encode()):
        for edge in (4096, 8192):
            for before in range(edge - 6, edge + 3):
                text = (around * before)[:before] + piece + around * 5000
                assert repaired(text) == text.decode(errors="replace").encode()


def test_valid_text_is_not_copied() -> None:
    text = ("a" * 5000 + "ż").encode() * 10
    assert repaired(text) is text
