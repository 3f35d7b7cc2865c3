"""Settings: parsed and validated together; neither errors nor representations show secrets."""

import base64
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from shuttle.errors import SettingsError
from shuttle.settings import load_settings, names_without_effect

SECRET = "planted-secret-value"


def problems(**environment: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_settings(environment)
    return str(caught.value).splitlines()


def test_default_settings_listen_on_loopback():
    settings = load_settings({})
    assert (settings.port, settings.shuttle_bind, settings.binds_loopback) == (9000, "127.0.0.1", True)
    assert settings.timeout_seconds == 1200
    assert settings.maximum_parallel_builds == 4
    assert settings.database_path == Path(".data/shuttle.db")


def test_given_environment_replaces_that_of_the_process(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PORT", "9001")
    monkeypatch.setenv("SHUTTLE_LEGACY_ANONYMOUS", "true")
    assert load_settings({}) == load_settings({"PORT": "9000"})
    assert load_settings().port == 9001
    assert load_settings().shuttle_legacy_anonymous


def test_all_problems_are_reported_together_with_their_settings():
    reported = problems(
        PORT="x",
        MAXIMUM_PARALLEL_BUILDS="0",
        JENKINS_URL="ftp://h/",
        SHUTTLE_TOKENS="admin:x",
        SHUTTLE_BIND="0.0.0.0",
        DATABASE_URL="mysql://h/db",
        S3_BUCKET="b",
        EXTRA_BUILD_ARGS="[1]",
        SHUTTLE_ENCRYPTION_KEYS="short",
        SHUTTLE_WEBHOOK_SCHEDULE_SECONDS="0,-1",
        SHUTTLE_ALLOW_NETWORKS="10.0.0.0/99",
        SHUTTLE_LEGACY_UNTIL="soon",
        TIMEOUT_IN_MS="0",
        SHUTTLE_JENKINS_CONSOLE="loud",
        BUILD_SHUTTLE_HOST="ftp://h",
    )
    for name in (
        *("PORT", "MAXIMUM_PARALLEL_BUILDS", "JENKINS_URL", "SHUTTLE_TOKENS", "DATABASE_URL", "S3_SECRET_KEY"),
        *("EXTRA_BUILD_ARGS", "SHUTTLE_ENCRYPTION_KEYS", "SHUTTLE_WEBHOOK_SCHEDULE_SECONDS", "SHUTTLE_ALLOW_NETWORKS"),
        *("SHUTTLE_LEGACY_UNTIL", "TIMEOUT_IN_MS", "SHUTTLE_JENKINS_CONSOLE", "BUILD_SHUTTLE_HOST"),
    ):
        assert sum(line.startswith(f"{name}: ") for line in reported) == 1, (name, reported)
    assert len(reported) >= 14


@pytest.mark.parametrize(
    "environment",
    [
        {"JENKINS_URL": f"http://user:{SECRET}@[::1/"},
        {"JENKINS_URL": f"http://user:{SECRET}@a,http://user:{SECRET}@b"},
        {"JENKINS_URL": f"http://user:{SECRET}@ho\u2100st/"},
        {"JENKINS_URL": f"http://user:{SECRET}@host:99999/"},
        {"JENKINS_URL": f"http://user:{SECRET}@host:{SECRET}/"},
        {"JENKINS_URL": f"ftp://user:{SECRET}@host/"},
        {"BUILD_SHUTTLE_HOST": f"http://user:{SECRET}@[::1/"},
        {"DATABASE_URL": f"postgresql://user:{SECRET}@host:port/db?nonsense={SECRET}"},
        {"DATABASE_URL": f"postgresql://user:{SECRET}%zz@host/db"},
        {"DATABASE_URL": f"mysql://user:{SECRET}@host/db"},
        {"SHUTTLE_TOKENS": f"{SECRET}"},
        {"SHUTTLE_TOKENS": f"reader:x,{SECRET}:y"},
        {"SHUTTLE_ENCRYPTION_KEYS": SECRET},
        {"SHUTTLE_ALLOW_NETWORKS": f"10.0.0.0/8, {SECRET}"},
        {"SHUTTLE_ALLOW_NETWORKS": f"10.0.0.0/{SECRET}"},
        {"SHUTTLE_WEBHOOK_SCHEDULE_SECONDS": f"0,{SECRET}"},
        {"SHUTTLE_LEGACY_UNTIL": SECRET},
        {"PORT": SECRET},
        {"TIMEOUT_IN_MS": SECRET},
        {"SHUTTLE_LOG_RESUME": SECRET},
        {"SHUTTLE_ALLOW_ANONYMOUS": SECRET},
        {"SHUTTLE_ENCRYPTION_KEYS": SECRET + "é"},
        {"EXTRA_BUILD_ARGS": '{"A": "' + SECRET},
        {"EXTRA_BUILD_ARGS": '{"A-B": "' + SECRET + '"}'},
        {"EXTRA_BUILD_ARGS": '{"A": "' + SECRET + '\\u0000"}'},
        {"EXTRA_BUILD_ARGS": '{"A": "' + SECRET + '\\ud800"}'},
        {"EXTRA_DOCKER_REGISTRY_CONFIG": '{"h": "' + SECRET + '"}'},
        {"EXTRA_DOCKER_REGISTRY_CONFIG": '{"h": {"username": "u", "password": ["' + SECRET + '"]}}'},
        {"EXTRA_DOCKER_REGISTRY_CONFIG": '{"h": {"username": 1, "password": "' + SECRET + '"}}'},
        {"S3_BUCKET": "b", "S3_SECRET_KEY": SECRET},
        {"SHUTTLE_BIND": "0.0.0.0", "SHUTTLE_WEBHOOK_SECRET": SECRET},
        {"SHUTTLE_HOOK_SECRET": f"{SECRET} {SECRET}"},
        {"SHUTTLE_HOOK_SECRET": f"{SECRET}é"},
    ],
    ids=str,
)
def test_error_names_the_setting_without_its_value(environment: dict[str, str]):
    reported = problems(**environment)
    assert SECRET not in "\n".join(reported)
    assert any(name in line for line in reported for name in environment), reported


def test_secrets_are_not_in_the_repr():
    settings = load_settings(
        {
            "JENKINS_URL": f"http://user:{SECRET}@host/",
            "SHUTTLE_TOKENS": f"controller:{SECRET}",
            "SHUTTLE_WEBHOOK_SECRET": "whsec_" + base64.b64encode(SECRET.encode() * 2).decode(),
            "SHUTTLE_HOOK_SECRET": SECRET,
            "S3_BUCKET": "b",
            "S3_ACCESS_KEY": "k",
            "S3_SECRET_KEY": SECRET,
            "EXTRA_DOCKER_REGISTRY_CONFIG": '{"h": {"username": "u", "password": "' + SECRET + '"}}',
            "SHUTTLE_ENCRYPTION_KEYS": (key := Fernet.generate_key().decode()),
        }
    )
    assert SECRET not in repr(settings)
    assert base64.b64encode(SECRET.encode() * 2).decode() not in repr(settings)
    assert key not in repr(settings)


def test_without_tokens_only_loopback_is_bound():
    for address in ("127.0.0.1", "::1", "localhost", "127.8.9.1"):
        assert load_settings({"SHUTTLE_BIND": address}).binds_loopback
    [problem] = problems(SHUTTLE_BIND="0.0.0.0")
    assert "SHUTTLE_TOKENS" in problem
    assert "SHUTTLE_ALLOW_ANONYMOUS" in problem
    assert not load_settings(
        {"SHUTTLE_BIND": "0.0.0.0", "SHUTTLE_TOKENS": "controller:sixteen-letters-"}
    ).binds_loopback
    load_settings({"SHUTTLE_BIND": "::", "SHUTTLE_ALLOW_ANONYMOUS": "true"})


@pytest.mark.parametrize(
    ("written", "understood"),
    [
        ("", ""),
        ("shuttle.example.com", "https://shuttle.example.com"),
        ("http://h:9000/", "http://h:9000"),
        ("https://h/base/", "https://h/base"),
    ],
)
def test_a_bare_host_means_https(written: str, understood: str):
    assert load_settings({"BUILD_SHUTTLE_HOST": written}).build_shuttle_host == understood


def test_build_args_become_texts():
    settings = load_settings({"EXTRA_BUILD_ARGS": '{"A": "x", "N": 1, "T": true, "L": [1]}'})
    assert settings.extra_build_args == {"A": "x", "N": "1", "T": "true", "L": "[1]"}


def test_lists_are_split_at_commas():
    settings = load_settings(
        {
            "SHUTTLE_TOKENS": " controller:a:b-of-16-characters , reader:c-of-16-characters,",
            "SHUTTLE_WEBHOOK_SCHEDULE_SECONDS": "0, 0.5,10",
            "SHUTTLE_ALLOW_NETWORKS": "10.0.0.1/8, ::1",
            "SHUTTLE_INSECURE_REGISTRIES": "h:5000, i",
        }
    )
    tokens = [(role, token.get_secret_value()) for role, token in settings.shuttle_tokens]
    assert tokens == [("controller", "a:b-of-16-characters"), ("reader", "c-of-16-characters")]
    assert settings.shuttle_webhook_schedule_seconds == (0, 0.5, 10)
    assert [str(network) for network in settings.shuttle_allow_networks] == ["10.0.0.0/8", "::1/128"]
    assert settings.shuttle_insecure_registries == ("h:5000", "i")


def test_intervals_may_be_small_but_not_zero():
    assert load_settings({"SHUTTLE_TRIGGER_SETTLE_SECONDS": "0.01"}).shuttle_trigger_settle_seconds == 0.01
    for name in ("SHUTTLE_TRIGGER_SETTLE_SECONDS", "SHUTTLE_STAGE_TIMEOUT_SECONDS", "SHUTTLE_SINK_GIVE_UP_SECONDS"):
        for text in ("0", "-1", "nan", "x"):
            assert problems(**{name: text})[0].startswith(f"{name}: ")


def test_settings_without_effect_are_recognized():
    assert names_without_effect({"DEBUG": "1", "PORT": "1", "SHOW_BUILD_LOGS": ""}) == ["DEBUG"]
    assert names_without_effect({"SHUTTLE_JENKINS_LOG": "raw"}) == ["SHUTTLE_JENKINS_LOG"]


def test_tokens_have_at_least_16_characters():
    assert len(load_settings({"SHUTTLE_TOKENS": "reader:" + "ü" * 16}).shuttle_tokens) == 1
    [problem] = problems(SHUTTLE_TOKENS="controller:0123456789abcdef,reader:0123456789abcde")
    assert problem.startswith("SHUTTLE_TOKENS: ")
    assert "16 characters" in problem
    assert "0123456789abcde" not in problem


def test_webhook_secrets_have_at_least_24_bytes():
    assert load_settings({"SHUTTLE_WEBHOOK_SECRET": base64.b64encode(bytes(24)).decode()}).webhook_keys == (bytes(24),)
    [problem] = problems(SHUTTLE_WEBHOOK_SECRET=base64.b64encode(bytes(23)).decode())
    assert problem.startswith("SHUTTLE_WEBHOOK_SECRET: ")
    assert "24 bytes" in problem


def test_secret_of_git_webhooks_has_16_characters():
    assert load_settings({"SHUTTLE_HOOK_SECRET": "x" * 16}).shuttle_hook_secret.get_secret_value() == "x" * 16
    [problem] = problems(SHUTTLE_HOOK_SECRET="x" * 15)
    assert problem.startswith("SHUTTLE_HOOK_SECRET: ")


POSTGRES = {
    "DATABASE_URL": "postgresql://user:password@host/db",
    "SHUTTLE_ENCRYPTION_KEYS": Fernet.generate_key().decode(),
    "S3_BUCKET": "b",
    "S3_ACCESS_KEY": "a",
    "S3_SECRET_KEY": "s",
}


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_postgresql_is_used_with_an_object_store_and_keys(scheme: str):
    url = POSTGRES["DATABASE_URL"].replace("postgresql", scheme)
    settings = load_settings(POSTGRES | {"DATABASE_URL": url})
    assert settings.postgres_url == url
    assert load_settings({}).postgres_url == ""
    assert "password" not in repr(settings)


@pytest.mark.parametrize("name", ["SHUTTLE_ENCRYPTION_KEYS", "S3_BUCKET"])
@pytest.mark.parametrize("empty", [True, False])
def test_postgresql_without_keys_or_a_bucket_is_refused_with_one_sentence(name: str, empty: bool):
    given = {other: value for other, value in POSTGRES.items() if other != name} | ({name: ""} if empty else {})
    [problem] = problems(**given)
    assert problem.startswith(f"{name}: PostgreSQL needs ")
