"""Texts that both databases can store: without NUL characters and lone surrogates."""

import re

_NO_TEXT = re.compile(r"[\x00\ud800-\udfff]")


def is_storable(text: str) -> bool:
    """Whether both databases can store the text."""
    return _NO_TEXT.search(text) is None


def storable(text: str) -> str:
    """The text with U+FFFD instead of each character that a database refuses: for texts of other services."""
    return _NO_TEXT.sub("\ufffd", text)
