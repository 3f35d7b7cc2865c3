"""The platforms of a request: the build runs once for each of them, in a parallel branch."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from shuttle.errors import InvalidRequestError
from shuttle.request.arguments import argument_texts, read_arguments
from shuttle.request.model import PipelineKind, Platform

# All of them run on one executor of Jenkins, at the same time.
_MAX_PLATFORMS = 20
_NAME = re.compile(r"[a-z0-9._-]{1,64}")
# The name of the log's stream of a build without platforms.
_TAKEN = "main"
_FIELDS = frozenset({"name", "arguments"})


def read_platforms(value: Any, kind: PipelineKind, effective_arguments: Mapping[str, str]) -> tuple[Platform, ...]:
    """The platforms, each given as a name or as `{"name", "arguments"}`; none if `value` is None.

    Raises InvalidRequestError, which names the field.
    """
    if value is None:
        return ()
    if not kind.accepts_platforms:
        message = f"Leave platforms out, or choose the pipeline script: {kind.name} builds for one platform only."
        raise InvalidRequestError(message, field="platforms")
    if not isinstance(value, list) or not 1 <= len(value) <= _MAX_PLATFORMS:
        message = f"Write platforms as an array of 1 to {_MAX_PLATFORMS} names or objects."
        raise InvalidRequestError(message, field="platforms")
    platforms: dict[str, Platform] = {}
    for index, given in enumerate(value):
        platform = _read(given, f"platforms[{index}]", effective_arguments)
        if platform.name in platforms:
            message = f"Give each platform a name of its own; {platform.name} is there twice."
            raise InvalidRequestError(message, field=f"platforms[{index}]")
        platforms[platform.name] = platform
    return tuple(platforms.values())


def unknown_in_platforms(value: Any) -> Iterator[str]:
    """The paths of the unknown fields in the platforms."""
    for index, given in enumerate(value or ()):
        if isinstance(given, dict):
            yield from (f"platforms[{index}].{name}" for name in given if name not in _FIELDS)


def _read(given: Any, where: str, effective_arguments: Mapping[str, str]) -> Platform:
    if isinstance(given, str):
        return Platform(name=_name(given, where))
    if not isinstance(given, dict):
        raise InvalidRequestError('Write the platform as a name or as {"name": …, "arguments": {…}}.', field=where)
    name, arguments = _name(given.get("name"), f"{where}.name"), given.get("arguments")
    if arguments is None:
        return Platform(name=name)
    if not isinstance(arguments, dict):
        raise InvalidRequestError("Write the arguments as an object.", field=f"{where}.arguments")
    try:
        own = read_arguments(arguments)
        argument_texts({**effective_arguments, **own})
    except InvalidRequestError as error:
        raise InvalidRequestError(error.message, field=f"{where}.{error.field}") from None
    return Platform(name=name, arguments=own)


def _name(name: Any, where: str) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidRequestError("Name the platform with 1 to 64 of a-z, 0-9, dot, dash and _.", field=where)
    if name == _TAKEN:
        raise InvalidRequestError(f"Choose another name than {_TAKEN}.", field=where)
    return name
