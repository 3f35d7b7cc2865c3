"""Secrets from files: every setting with a secret can be read from NAME_FILE, and no error shows a file's content."""

import json
import os
from base64 import b64encode
from pathlib import Path
from typing import Any, get_args

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from shuttle.errors import SettingsError
from shuttle.setting_files import MAX_FILE_BYTES, names_with_files
from shuttle.settings import Settings, load_settings

SECRET = "planted-secret-value"
HOSTS = json.dumps({"h": {"username": "u", "password": SECRET}})
# A valid value of each setting, with the planted secret where its form allows that.
VALUES = {
    "DATABASE_URL": f"sqlite:///{SECRET}.db",
    "SHUTTLE_DATABASE_LISTEN_URL": f"postgresql://u:{SECRET}@h/d",
    "SHUTTLE_DATABASE_MIGRATE_URL": f"postgresql://u:{SECRET}@h/d",
    "SHUTTLE_ENCRYPTION_KEYS": Fernet.generate_key().decode(),
    "S3_ACCESS_KEY": SECRET,
    "S3_SECRET_KEY": SECRET,
    "JENKINS_URL": f"http://user:{SECRET}@h/",
    "EXTRA_BUILD_ARGS": json.dumps({"A": SECRET}),
    "EXTRA_DOCKER_REGISTRY_CONFIG": HOSTS,
    "SHUTTLE_TOKENS": f"controller:{SECRET}",
    "SHUTTLE_HOOK_SECRET": SECRET,
    "SHUTTLE_WEBHOOK_SECRET": "whsec_" + b64encode(SECRET.encode() * 2).decode(),
    "SHUTTLE_KAFKA_CREDENTIALS": HOSTS,
}


def problems(**environment: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_settings(environment)
    assert SECRET not in str(caught.value)
    return str(caught.value).splitlines()


def written(folder: Path, content: str | bytes) -> str:
    path = folder / "secret"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def holds_secret(annotation: Any) -> bool:
    return annotation is SecretStr or any(holds_secret(part) for part in get_args(annotation))


def test_every_secret_setting_can_come_from_a_file():
    secret = {name.upper() for name, field in Settings.model_fields.items() if holds_secret(field.annotation)}
    assert secret | {"S3_ACCESS_KEY", "EXTRA_BUILD_ARGS"} == names_with_files(Settings) == set(VALUES)
    documents = Path(__file__).parents[2]
    operating = documents.joinpath("docs/operating.md").read_text(encoding="utf-8")
    assert {name for name in VALUES if f"`{name}_FILE`" not in operating} == set()


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"], ids=repr)
@pytest.mark.parametrize("name", sorted(VALUES))
def test_value_from_a_file_equals_the_value_from_the_environment(tmp_path: Path, name: str, ending: str):
    environment = {f"{name}_FILE": written(tmp_path, VALUES[name] + ending)}
    assert load_settings(environment) == load_settings({name: VALUES[name]}) != load_settings({})


def test_files_are_also_read_for_the_environment_of_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SHUTTLE_TOKENS_FILE", written(tmp_path, f"reader:{SECRET}\n"))
    assert [token.get_secret_value() for _, token in load_settings().shuttle_tokens] == [SECRET]
    monkeypatch.setenv("SHUTTLE_TOKENS", f"controller:{SECRET}")
    with pytest.raises(SettingsError):
        load_settings()


def test_spaces_inside_and_at_the_edges_are_kept(tmp_path: Path):
    settings = load_settings({"S3_ACCESS_KEY_FILE": written(tmp_path, " a b \n")})
    assert settings.s3_access_key == " a b "


@pytest.mark.parametrize("name", sorted(VALUES))
def test_setting_and_its_file_together_are_refused(tmp_path: Path, name: str):
    [problem] = problems(**{f"{name}_FILE": written(tmp_path, VALUES[name]), name: VALUES[name]})
    assert problem == f"{name}_FILE: {name} is set as well; set one of the two"


@pytest.mark.parametrize("name", sorted(VALUES))
def test_empty_variable_counts_as_not_set(tmp_path: Path, name: str):
    """Compose files set variables without a value to the empty string."""
    path = written(tmp_path, VALUES[name])
    assert load_settings({name: VALUES[name], f"{name}_FILE": ""}) == load_settings({name: VALUES[name]})
    assert load_settings({name: "", f"{name}_FILE": path}) == load_settings({name: VALUES[name]})


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (SECRET.encode() + b"\xff", "not UTF-8"),
        (SECRET.encode() * (MAX_FILE_BYTES // len(SECRET) + 1), "larger than"),
    ],
    ids=["empty", "newline", "binary", "large"],
)
def test_file_without_a_usable_text_is_refused(tmp_path: Path, content: bytes, why: str):
    """If an empty file of tokens were accepted, the service would be open to everyone."""
    [problem] = problems(SHUTTLE_TOKENS_FILE=written(tmp_path, content))
    assert problem.startswith("SHUTTLE_TOKENS_FILE: ")
    assert why in problem


def test_the_largest_file_is_read(tmp_path: Path):
    path = written(tmp_path, "x" * MAX_FILE_BYTES)
    assert len(load_settings({"S3_SECRET_KEY_FILE": path}).s3_secret_key) == MAX_FILE_BYTES


def test_error_for_an_unreadable_file_names_the_setting_not_the_path(tmp_path: Path):
    """The path is not shown: it may be the secret itself, written into the wrong setting."""
    unreadable = tmp_path / "unreadable"
    unreadable.write_text(SECRET)
    unreadable.chmod(0)
    for path in (f"/nowhere/{SECRET}", SECRET, str(tmp_path), f"{tmp_path}/\0{SECRET}", "x" * 5000):
        [problem] = problems(S3_SECRET_KEY_FILE=path)
        assert problem.startswith("S3_SECRET_KEY_FILE: the file cannot be read"), path
    if os.geteuid() != 0:
        [problem] = problems(S3_SECRET_KEY_FILE=str(unreadable))
        assert "Permission denied" in problem


def test_content_of_a_file_is_validated_like_the_setting(tmp_path: Path):
    for name, content in (
        ("SHUTTLE_TOKENS", SECRET),
        ("JENKINS_URL", f"ftp://user:{SECRET}@h"),
        ("EXTRA_DOCKER_REGISTRY_CONFIG", '{"h": "' + SECRET + '"}'),
        ("SHUTTLE_WEBHOOK_SECRET", SECRET),
    ):
        [problem] = problems(**{f"{name}_FILE": written(tmp_path, content)})
        assert problem.startswith(f"{name}: ")


def test_all_problems_are_reported_together(tmp_path: Path):
    reported = problems(JENKINS_URL_FILE="/nowhere/a", S3_SECRET_KEY_FILE="/nowhere/b", PORT="x")
    assert {line.partition(":")[0] for line in reported} == {"JENKINS_URL_FILE", "S3_SECRET_KEY_FILE", "PORT"}


def test_tokens_that_cannot_be_read_do_not_open_the_service():
    assert problems(SHUTTLE_TOKENS_FILE="/nowhere/a", SHUTTLE_BIND="0.0.0.0")[0].startswith("SHUTTLE_TOKENS_FILE: ")
    assert problems(SHUTTLE_TOKENS_FILE="/nowhere/a", SHUTTLE_BIND="0.0.0.0", SHUTTLE_ALLOW_ANONYMOUS="true")


def test_settings_of_certificates_are_paths_not_contents(tmp_path: Path):
    """Their names end in `_FILE`, too."""
    path = written(tmp_path, "x")
    settings = load_settings({"SHUTTLE_CA_FILE": path, "SHUTTLE_KAFKA_CA_FILE": path})
    assert settings.shuttle_ca_file == settings.shuttle_kafka_ca_file == Path(path)
