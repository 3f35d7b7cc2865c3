"""Texts that every database can store: without NUL characters and lone surrogates."""

import re
from typing import Annotated

from pydantic import AfterValidator

_NO_TEXT = re.compile(r"[\x00\ud800-\udfff]")


def is_storable(text: str) -> bool:
    """Whether both databases can store the text."""
    return _NO_TEXT.search(text) is None


def _checked(text: str) -> str:
    if not is_storable(text):
        raise ValueError("write it without NUL characters and lone surrogates")
    return text


# It stands after a field's limits, so that pydantic checks the number of characters first, and names it.
STORABLE = AfterValidator(_checked)
Text = Annotated[str, STORABLE]
