"""The commands, as tables. A module is imported only when one of its nouns is used."""

from importlib import import_module
from typing import Tuple

from bldst.errors import UsageError
from bldst.grammar import Noun

NOUNS = {
    "build": "build",
    "state": "build",
    "failure": "build",
    "artifact": "artifact",
    "variable": "variable",
    "checkpoint": "checkpoint",
    "resume-request": "resume",
    "resumable-state": "resume",
    "project": "reference",
    "platform": "reference",
    "os-version": "reference",
    "image-type": "reference",
    "cloud-provider": "reference",
    "os-distribution": "reference",
    "image-variant": "reference",
    "state-code": "reference",
    "dashboard": "service",
    "health": "service",
    "user": "service",
    "config": "local",
    "auth": "local",
}
"""Each noun and the module that has its table."""

ELSEWHERE = {("build", "add-artifact"): ("artifact", "create")}
"""Commands that are also known under another noun."""


def load(word: str) -> Noun:
    """Return a noun by its name, or by its plural.

    Raises:
        UsageError: There is none.
    """
    name = word if word in NOUNS else word[:-1] if word.endswith("s") else word
    if name not in NOUNS:
        from difflib import get_close_matches

        close = get_close_matches(word, NOUNS, 1)
        suggestion = f"did you mean {close[0]}?" if close else "bldst --help"
        raise UsageError(f"there is no command {word}: {suggestion}")
    table: Tuple[Noun, ...] = import_module("bldst.commands." + NOUNS[name]).TABLE
    return next(noun for noun in table if noun.name == name)
