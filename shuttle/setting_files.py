"""Secret settings from files: `NAME_FILE` is the path of a file with the value, as container engines mount it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, SecretStr

# Far more than the credentials of many registries need.
MAX_FILE_BYTES = 1024 * 1024
# They are no SecretStr, but files keep them secret, too: S3_ACCESS_KEY is half of a pair of credentials, and requests
# may declare arguments of EXTRA_BUILD_ARGS secret.
_ALSO_SECRET = frozenset({"S3_ACCESS_KEY", "EXTRA_BUILD_ARGS"})


def names_with_files(settings: type[BaseModel]) -> frozenset[str]:
    """The settings that may come from a file: all with a secret."""
    fields = settings.model_fields.items()
    return _ALSO_SECRET | {name.upper() for name, field in fields if _holds_secret(field.annotation)}


def read_setting_files(environment: Mapping[str, str], names: frozenset[str]) -> tuple[dict[str, str], list[str]]:
    """The values by setting, and one line per problem, without the path: a secret may be written in its place."""
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
    """The file's text without the final newline that editors and `echo` add; raises ValueError."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from None
    except ValueError:  # a NUL in the path
        raise ValueError("the file cannot be read: its path is invalid") from None
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"the file is larger than {MAX_FILE_BYTES} bytes")
    try:
        text = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError("the file is not UTF-8 text") from None
    if not text:
        raise ValueError("the file is empty")
    return text
