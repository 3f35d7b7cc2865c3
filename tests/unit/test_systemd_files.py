"""The units in deploy/systemd: settings that exist, secrets in credentials, enough time for a stop, both hardened."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from shuttle.cli.failures import exit_code_of
from shuttle.errors import SettingsError
from shuttle.setting_files import names_with_files
from shuttle.settings import Settings, load_settings, setting_names

_FOLDER = Path(__file__).parents[2] / "deploy" / "systemd"
_SINGLE, _INSTANCE = _FOLDER / "shuttle.service", _FOLDER / "shuttle@.service"
_UNITS = pytest.mark.parametrize("unit", [_SINGLE, _INSTANCE], ids=["single", "instance"])


def _lines(unit: Path) -> Iterator[tuple[str, str]]:
    """Every `key=value` of the unit."""
    for line in unit.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith(("#", "[")):
            key, _, value = line.partition("=")
            yield key, value


def _values(unit: Path, key: str) -> list[str]:
    return [value for name, value in _lines(unit) if name == key]


def _environment(unit: Path) -> dict[str, str]:
    return dict(value.split("=", 1) for value in _values(unit, "Environment"))


@_UNITS
def test_every_variable_is_a_setting(unit: Path):
    environment = _environment(unit)
    secrets = names_with_files(Settings)
    assert set(environment) <= setting_names() | {f"{name}_FILE" for name in secrets}
    assert not set(environment) & secrets, "every user can read the variables of a unit"


@_UNITS
def test_secrets_are_credentials(unit: Path):
    files = {value for name, value in _environment(unit).items() if name.endswith("_FILE")}
    loaded = [value.split(":", 1) for value in _values(unit, "LoadCredential")]
    assert files == {f"%d/{name}" for name, _ in loaded}
    assert all(path == f"/etc/shuttle/{name}" for name, path in loaded)


def test_an_instance_has_all_that_a_replica_needs():
    """With PostgreSQL but without a bucket or keys the service does not start."""
    named = {name.removesuffix("_FILE") for name in _environment(_INSTANCE)}
    given = {"DATABASE_URL": "postgresql://db.example.com/shuttle"}
    with pytest.raises(SettingsError) as refused:
        load_settings(given)
    missing = set(re.findall(r"^([A-Z][A-Z0-9_]+):", str(refused.value), re.MULTILINE))
    assert missing == {"SHUTTLE_ENCRYPTION_KEYS", "S3_BUCKET"}
    # The name of the bucket is in settings.env.
    assert missing - {"S3_BUCKET"} | {"DATABASE_URL", "S3_ACCESS_KEY", "S3_SECRET_KEY", "PORT"} <= named


@_UNITS
def test_service_writes_only_to_its_state_directory(unit: Path):
    [directory] = _values(unit, "StateDirectory")
    assert _environment(unit)["SHUTTLE_DATA_DIR"] == f"%S/{directory}"
    assert _values(unit, "ProtectSystem") == ["strict"]
    assert _values(unit, "ReadWritePaths") == []


@_UNITS
def test_unit_is_killed_only_after_a_clean_stop_and_starts_again(unit: Path):
    defaults = load_settings({})
    [stop_seconds] = _values(unit, "TimeoutStopSec")
    assert float(stop_seconds) >= defaults.shuttle_drain_seconds + defaults.shuttle_shutdown_seconds + 10
    assert _values(unit, "Restart") == ["always"]
    assert _values(unit, "RestartPreventExitStatus") == [str(exit_code_of(SettingsError("")))]


def test_both_units_are_hardened_alike():
    own = {"Description", "Environment", "LoadCredential", "StateDirectory", "User"}
    single, instance = ([line for line in _lines(unit) if line[0] not in own] for unit in (_SINGLE, _INSTANCE))
    assert single == instance
