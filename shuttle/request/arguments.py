"""The arguments of a build: names and values for the user's process, and which of them are secret."""

import re
from collections.abc import Collection, Mapping
from typing import Any

from shuttle.errors import InvalidRequestError
from shuttle.request.body import canonical_json

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Linux: one `NAME=value` of an environment holds 128 KiB with its final NUL (MAX_ARG_STRLEN), and all of it together
# with the command line 2 MiB at the usual stack limit; half of that leaves room for what the agent adds.
_MAX_ARGUMENT_BYTES = 128 * 1024 - 1
_MAX_ARGUMENTS_BYTES = 1024 * 1024
# The image builder gets each name in its command line, which counts towards the same 2 MiB.
_MAX_ARGUMENTS = 5000
_MAX_SECRET_NAMES = 1000


def read_arguments(values: dict[str, Any]) -> dict[str, str]:
    """The arguments as strings.

    Raises:
        InvalidRequestError: an environment cannot hold a name, a value or all of them together.
    """
    for name in values:
        if not _NAME.fullmatch(name):
            raise InvalidRequestError(
                "Name arguments with letters, digits and _, not beginning with a digit.", field=f"arguments.{name}"
            )
    return argument_texts(values)


def argument_texts(values: Mapping[str, Any]) -> dict[str, str]:
    """The values as strings; numbers and booleans become their JSON text (`1.0` is `1`). Names are not checked.

    Raises:
        InvalidRequestError: an environment cannot hold a value, or all arguments together.
    """
    if len(values) > _MAX_ARGUMENTS:
        raise InvalidRequestError(f"Give at most {_MAX_ARGUMENTS} arguments.", field="arguments")
    arguments = {name: _read_value(name, value) for name, value in values.items()}
    if sum(len(name) + len(text.encode()) for name, text in arguments.items()) > _MAX_ARGUMENTS_BYTES:
        raise InvalidRequestError(
            f"Shorten the arguments: together they may have at most {_MAX_ARGUMENTS_BYTES} bytes.", field="arguments"
        )
    return arguments


def _read_value(name: str, value: Any) -> str:
    where = f"arguments.{name}"
    text = _text_of(value, where)
    try:
        size_bytes = len(name) + 1 + len(text.encode())
    except UnicodeEncodeError:
        raise InvalidRequestError("Write the argument without lone surrogates.", field=where) from None
    if "\0" in text:
        raise InvalidRequestError("Write the argument without NUL characters.", field=where)
    if size_bytes > _MAX_ARGUMENT_BYTES:
        raise InvalidRequestError(
            f"Shorten the argument: with its name and = it may have at most {_MAX_ARGUMENT_BYTES} bytes.", field=where
        )
    return text


def _text_of(value: Any, where: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return canonical_json(value).decode()
    if not isinstance(value, str):
        raise InvalidRequestError("Give the argument as a string, a number or a boolean.", field=where)
    return value


def read_secret_arguments(names: list[str], known: Collection[str]) -> tuple[str, ...]:
    """The names whose values are masked, without duplicates; `known` includes those of EXTRA_BUILD_ARGS."""
    if len(names) > _MAX_SECRET_NAMES:
        raise InvalidRequestError(f"Name at most {_MAX_SECRET_NAMES} secrets.", field="secret_arguments")
    for index, name in enumerate(names):
        if name not in known:
            raise InvalidRequestError(
                "Name an argument of this request, of one of its platforms, or of EXTRA_BUILD_ARGS.",
                field=f"secret_arguments[{index}]",
            )
    return tuple(dict.fromkeys(names))
