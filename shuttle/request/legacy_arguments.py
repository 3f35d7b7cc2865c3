"""The arguments of the older API: three fields with two forms.

Characters that a name cannot have are removed. Secrets are recognized by their names, or as URLs with a password.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from shuttle.errors import InvalidRequestError
from shuttle.outgoing.userinfo import split_userinfo
from shuttle.request.arguments import argument_texts
from shuttle.request.secrets import MIN_MASKED_BYTES
from shuttle.request.shell_words import shell_words

# The newest name last: its values take precedence.
FIELDS = ("build_options", "build_opts", "build_args")

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_]+")
_ARG = re.compile(r"ARG\s+(.+)", re.IGNORECASE)
# An app's configuration does not say which of its values are secret (docs/contract.md, "The older API").
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASS|CREDENTIAL", re.IGNORECASE)


def read_legacy_arguments(fields: Mapping[str, Any]) -> dict[str, str]:
    """The arguments of `build_args`, `build_opts` and `build_options`: each an object, or a string of ARG lines.

    Raises:
        InvalidRequestError: names the field, and for an object the argument.
    """
    arguments: dict[str, str] = {}
    for field in FIELDS:
        try:
            arguments |= argument_texts(dict(_cleaned(_values(fields.get(field), field))))
        except InvalidRequestError as error:
            place = (error.field or field).replace("arguments", field, 1)
            raise InvalidRequestError(error.message, field=place) from None
    return arguments


def secret_names(arguments: Mapping[str, str]) -> tuple[str, ...]:
    """The arguments to mask: those with a secret's name, and URLs with a password, if they are long enough."""
    return tuple(name for name, value in arguments.items() if _is_secret(name, value))


def _is_secret(name: str, value: str) -> bool:
    if len(value.encode()) < MIN_MASKED_BYTES:
        return False
    credentials = split_userinfo(value)[1] if "@" in value else None
    return _SECRET_NAME.search(name) is not None or (credentials is not None and credentials.password != "")


def _values(value: Any, field: str) -> Mapping[str, Any]:
    if value is None or value == "":
        return {}
    if isinstance(value, str):
        return dict(_argument_lines(value, field))
    if isinstance(value, dict):
        return value
    raise InvalidRequestError(f"Write {field} as an object, or as a string of ARG lines.", field=field)


def _argument_lines(text: str, field: str) -> Iterator[tuple[str, str]]:
    """The arguments in `ARG NAME=value …`, as in a Dockerfile; a name without a value only declares an argument."""
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = _ARG.fullmatch(stripped)
        if match is None:
            raise InvalidRequestError(f"Write only ARG lines: line {number} is another instruction.", field=field)
        try:
            words = list(shell_words(match[1]))
        except ValueError:
            raise InvalidRequestError(f"Close the quotes in line {number}.", field=field) from None
        for word in words:
            name, equals, value = word.partition("=")
            if equals:
                yield name, value


def _cleaned(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Remove all but letters, digits and `_` from names. Empty names and null values are left out."""
    for name, value in values.items():
        cleaned = _NOT_IN_NAMES.sub("", name)
        if cleaned and value is not None:
            yield cleaned, value
