"""Secret settings from files: `NAME_FILE` names one, as container engines mount them, and its text is the value."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, SecretStr

# Far beyond the credentials of any number of registries.
MOST_BYTES = 1024 * 1024
# Text by their types, and yet credentials: half of a pair, and the values of arguments that requests call secret.
_ALSO_SECRET = frozenset({"S3_ACCESS_KEY", "EXTRA_BUILD_ARGS"})


def names_with_files(settings: type[BaseModel]) -> frozenset[str]:
    """The settings that may come from a file: all that hold a secret."""
    fields = settings.model_fields.items()
    return _ALSO_SECRET | {name.upper() for name, field in fields if _holds_secret(field.annotation)}


def read_setting_files(environment: Mapping[str, str], names: frozenset[str]) -> tuple[dict[str, str], list[str]]:
    """Values by setting, and the problems: one line each, without a path, which may be a secret in the wrong place."""
    values, problems = {}, []
    for name in sorted(names):
        path = environment.get(f"{name}_FILE")
        if not path:
            continue
        if environment.get(name):
            problems.append(f"{name}_FILE: {name} is set as well; set one of the two")
            continue
        try:
            values[name] = _text_of(path)
        except ValueError as error:
            problems.append(f"{name}_FILE: {error}")
    return values, problems


def _holds_secret(annotation: Any) -> bool:
    return annotation is SecretStr or any(_holds_secret(part) for part in get_args(annotation))


def _text_of(path: str) -> str:
    """The file's text without the newline that editors and `echo` put at its end; ValueError says what is wrong."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from None
    except ValueError:  # a NUL in its path
        raise ValueError("the file cannot be read: its path is none") from None
    if len(content) > MOST_BYTES:
        raise ValueError(f"the file is larger than {MOST_BYTES} bytes")
    try:
        text = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError("the file is not UTF-8 text") from None
    if not text:
        raise ValueError("the file is empty")
    return text
