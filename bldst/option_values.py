"""Reads the values of options: for each kind of option a function, which raises UsageError for other values."""

import json
from typing import Any, List

from bldst.errors import UsageError

NOT_AN_ID = ("", "null")
"""The value of a shell variable after a failed look-up: empty, or `null` if jq printed it."""


def read_value(kind: str, name: str, text: str) -> Any:
    """Return the value of the option `name`.

    Raises:
        UsageError: An option of this kind does not take the text.
    """
    return _READERS[kind](name, text)


def _text(_name: str, text: str) -> str:
    return text


def _id(name: str, text: str) -> str:
    if text not in NOT_AN_ID:
        return text
    word = name.strip("-")
    noun = word[: -len("-id")] if word.endswith("-id") else word
    if noun == "build":
        raise UsageError("no build id: did bldst build create fail?")
    shown = noun.replace("-", " ")
    known = "project" if noun == "parent" else noun
    raise UsageError(
        "no {0} id: is there {1} {0} of that name? bldst {2} list".format(
            shown, "an" if shown[0] in "aeiou" else "a", known
        )
    )


def _int(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"{name} takes a number, not {text!r}") from None


def _code(name: str, text: str) -> Any:
    if text in NOT_AN_ID:
        raise UsageError(f"{name} needs a state code")
    try:
        return int(text)
    except ValueError:
        return text


def _json(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name} takes JSON: {error}") from None


def _list(_name: str, text: str) -> List[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


_READERS = {"text": _text, "id": _id, "int": _int, "code": _code, "json": _json, "list": _list}
