"""Reads the settings from the environment; all problems are reported at once."""

import os
import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from shuttle.errors import SettingsError
from shuttle.setting_files import names_with_files, read_setting_files
from shuttle.settings.model import Settings

# Settings of the old shuttle and of earlier versions of this one that are no longer read. A warning at the start names
# those that are set.
NAMES_WITHOUT_EFFECT = (
    "SHOW_BUILD_LOGS",
    "DOCKER_BUILD_IMAGE",
    "DOCKER_BUILD_SETTINGS",
    "USE_KUBERNETES",
    "DEBUG",
    "SHUTTLE_JENKINS_LOG",
)

_LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")


def load_settings(environment: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """The settings in `environment` (None: of this process); secrets also from files, see `setting_files`.

    Raises:
        SettingsError: one line per problem with the name of the setting, without the invalid value.
    """
    given = os.environ if environment is None else environment
    from_files, problems = read_setting_files(given, names_with_files(Settings))
    known = {name: given[name] for name in setting_names() if given.get(name)}
    values = {name.lower(): value for name, value in {**known, **from_files}.items()}
    for name in _not_utf8(values):
        problems.append(f"{name.upper()}: write it as UTF-8")
        del values[name]
    try:
        settings = Settings(**{**values, **overrides})
    except ValidationError as error:
        problems += [_problem(entry) for entry in error.errors(include_input=False)]
    if problems:
        raise SettingsError("\n".join(problems))
    return settings


def _not_utf8(values: Mapping[str, str]) -> list[str]:
    """The settings whose bytes in the environment are not UTF-8; a path may have any bytes."""
    paths = {name for name, field in Settings.model_fields.items() if "Path" in str(field.annotation)}
    return [name for name, value in values.items() if name not in paths and _LONE_SURROGATE.search(value)]


def setting_names() -> frozenset[str]:
    """The names of the settings in the environment, without the names `NAME_FILE`."""
    return frozenset(name.upper() for name in Settings.model_fields)


def _problem(entry: Any) -> str:
    name = str(entry["loc"][0]).upper() if entry["loc"] else ""
    message = str(entry["msg"]).removeprefix("Value error, ")
    return f"{name}: {message}" if name else message


def names_without_effect(environment: Mapping[str, str]) -> list[str]:
    """The settings in the environment that are no longer read."""
    return [name for name in NAMES_WITHOUT_EFFECT if environment.get(name)]
