"""Settings at their edges: what could not work, or would mean something else than written, ends the start."""

import json
from collections.abc import Callable

import pytest
from cryptography.fernet import Fernet

from shuttle.errors import SettingsError
from shuttle.settings import load_settings

TOKEN, OTHER_TOKEN = "token-of-a-program", "token-of-a-person"
KEY, OTHER_KEY = (Fernet.generate_key().decode() for _ in range(2))


def problem_of(name: str, value: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings({name: value})
    [problem] = str(caught.value).splitlines()
    assert problem.startswith(f"{name}: ")
    return problem


def test_a_token_with_two_roles_is_refused():
    problem = problem_of("SHUTTLE_TOKENS", f"controller:{TOKEN},reader:{OTHER_TOKEN},reader:{TOKEN}")
    assert "two roles" in problem
    assert TOKEN not in problem
    assert len(load_settings({"SHUTTLE_TOKENS": f"reader:{TOKEN},reader:{TOKEN}"}).shuttle_tokens) == 2


@pytest.mark.parametrize("between", ["\n", " ", "\r\n", "\t", "\u00a0", "\x01"])
def test_tokens_that_are_not_separated_by_commas_are_not_one_token(between: str):
    assert TOKEN not in problem_of("SHUTTLE_TOKENS", f"controller:{TOKEN}{between}reader:{OTHER_TOKEN}")


@pytest.mark.parametrize("name", ["SHUTTLE_TOKENS", "SHUTTLE_ENCRYPTION_KEYS", "SHUTTLE_ALIASES", "KAFKA_HOSTS"])
@pytest.mark.parametrize("commas", [",", " , ,"])
def test_list_of_only_commas_is_refused(name: str, commas: str):
    problem_of(name, commas)


@pytest.mark.parametrize(
    "value",
    [f"{KEY}\n{OTHER_KEY}", f"{KEY} {OTHER_KEY}", f"{KEY[:20]}\n{KEY[20:]}", f"{KEY}!"],
    ids=["a line break between", "a space between", "a line break within", "more behind"],
)
def test_a_second_encryption_key_is_never_ignored(value: str):
    assert KEY not in problem_of("SHUTTLE_ENCRYPTION_KEYS", value)
    both = load_settings({"SHUTTLE_ENCRYPTION_KEYS": f" {KEY}, {OTHER_KEY},"})
    assert [key.get_secret_value() for key in both.shuttle_encryption_keys] == [KEY, OTHER_KEY]


URLS = ["http://[::1]:9000", "https://h:65535", "https://shuttle.example.com/base/", "http://münchen.example"]
NO_URLS = (
    *("http://", "https:///x", "http:/h", "//h", "ftp://h", "http://h:0", "http://h:65536", "http://h:x", "http://h:"),
    *("http://user:word@h", "http://token@h", "http://h?q=1", "http://h/#f", "http://h h", "http://h\ni", "http://*"),
    *("http://[::1", "http://::1", "http://[fe80::1%25eth0]", "http://.h", "http://h..i", "http://ho\u2100st"),
    *("http://h\\x", "http://" + "a" * 64, "http://h\udcff"),
)


@pytest.mark.parametrize("name", ["SHUTTLE_ALIASES", "BUILD_SHUTTLE_HOST"])
def test_names_of_the_service_are_base_urls_or_hosts(name: str):
    for value in (*URLS, "h", "h:9000", "[::1]", "[::1]:9000"):
        load_settings({name: value})
    for value in (*NO_URLS, "::1", "h:x", "user@h", "*.example.com", "h?q"):
        assert "word" not in problem_of(name, value)
    problem_of("SHUTTLE_ALIASES", "https://good.example,http://")


def test_jenkins_url_is_a_base_url_with_or_without_userinfo():
    for value in (*URLS, "http://user:word@h:8080/jenkins"):
        load_settings({"JENKINS_URL": value})
    for value in set(NO_URLS) - {"http://user:word@h", "http://token@h"} | {"h", "http://user:word@h?x"}:
        assert "word" not in problem_of("JENKINS_URL", value)


def _credentials(host: str) -> str:
    return json.dumps({host: {"username": "u", "password": "p"}})


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("SHUTTLE_INSECURE_REGISTRIES", str),
        ("KAFKA_HOSTS", str),
        ("EXTRA_DOCKER_REGISTRY_CONFIG", _credentials),
        ("SHUTTLE_KAFKA_CREDENTIALS", _credentials),
    ],
    ids=["insecure registries", "kafka hosts", "registry credentials", "kafka credentials"],
)
def test_values_that_can_match_no_host_are_refused(name: str, written: Callable[[str], str]):
    for host in ("h", "h:1", "10.0.0.1:65535", "[::1]:5000", "[2001:db8::1]", "a_b.example"):
        load_settings({name: written(host)})
    for host in ("http://h", "h/", "h/path", "u:p@h", "h:0", "h:65536", "h:x", "::1", "[::1", "h i", "*", "é.example"):
        problem_of(name, written(host))


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("DOCKER_REGISTRY_HOST", ["h", "https://h:5000/", "[::1]:5000"], ["h:0", "h/path", "http://", "h i"]),
        ("KAFKA_TOPIC", ["a" * 249, "a.b-c_d"], ["a" * 250, "a b", "..", "é", "a/b"]),
        ("SHUTTLE_BIND", ["::1", "localhost", "127.1.2.3"], ["[::1]", "127.0.0.1,::1", "127.0.0.1:9000", "a b", "é é"]),
        ("SHUTTLE_JENKINS_FOLDER", ["a", "/a/b c/", "é"], ["a//b", "..", "a/./b", "a/ b", "a?", "a\\b", "a\nb", "//"]),
        ("DATABASE_URL", ["sqlite:///a", "sqlite:////a/b"], ["sqlite:///", "sqlite:////", "sqlite:///a?mode=ro"]),
    ],
    ids=str,
)
def test_names_of_hosts_topics_folders_and_files_are_checked_at_the_start(name: str, good: list[str], bad: list[str]):
    for value in good:
        load_settings({name: value})
    for value in bad:
        problem_of(name, value)


@pytest.mark.parametrize(
    ("name", "greatest", "too_great"),
    [
        ("SHUTTLE_BUILD_DEADLINE_SECONDS", "1e9", "1000000001"),
        ("SHUTTLE_HEAD_TIMEOUT_SECONDS", "1e9", "inf"),
        ("SHUTTLE_WEBHOOK_SCHEDULE_SECONDS", "0,1e9", "0,1e999"),
        ("SHUTTLE_KEEP_SOURCES_DAYS", "36500", "36500.1"),
        ("SHUTTLE_KEEP_RECORDS_DAYS", "36500", "inf"),
        ("SHUTTLE_JENKINS_POLLS_PER_SECOND", "1e6", "inf"),
        ("TIMEOUT_IN_MS", str(10**12), str(10**12 + 1)),
        ("MAXIMUM_PARALLEL_BUILDS", str(2**31 - 1), str(2**31)),
        ("SHUTTLE_QUEUE_LIMIT", str(2**31 - 1), str(2**63)),
        ("SHUTTLE_MAX_LOG_BYTES", str(2**62), str(2**63)),
    ],
)
def test_numbers_beyond_the_range_of_instants_or_columns_are_refused(name: str, greatest: str, too_great: str):
    load_settings({name: greatest})
    problem_of(name, too_great)


@pytest.mark.parametrize(
    "value", ['{"A": "x", "A": "y"}', '{"A": NaN}', '{"A": -Infinity}', '{"A": 1e999}', "[" * 100_000], ids=len
)
def test_ambiguous_or_unusable_json_of_build_arguments_is_refused(value: str):
    problem_of("EXTRA_BUILD_ARGS", value)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ('{"A":', "write a JSON object: Expecting value at character 6"),
        ('{"A": ' + "9" * 5000 + "}", "write numbers within the range of a double"),
    ],
    ids=["unfinished", "5000 digits"],
)
def test_broken_json_of_build_arguments_is_refused_with_what_to_write(value: str, sentence: str):
    assert problem_of("EXTRA_BUILD_ARGS", value).removeprefix("EXTRA_BUILD_ARGS: ").startswith(sentence)


def test_registry_that_is_listed_twice_is_refused():
    entry = '"h": {"username": "u", "password": "p"}'
    problem_of("EXTRA_DOCKER_REGISTRY_CONFIG", f"{{{entry}, {entry}}}")


@pytest.mark.parametrize("name", ["SHUTTLE_REPLICA_NAME", "SHUTTLE_JENKINS_AGENT_LABEL", "S3_ACCESS_KEY"])
def test_bytes_that_are_not_utf8_are_refused(name: str):
    assert "UTF-8" in problem_of(name, "a\udcff")


def test_empty_value_means_the_default():
    """As .env.example says: compose passes `PORT=` on as an empty variable."""
    names = ("PORT", "SHUTTLE_HEAD_TIMEOUT_SECONDS", "NO_CACHE", "JENKINS_URL", "KAFKA_TOPIC", "SHUTTLE_LOG_RESUME")
    assert load_settings(dict.fromkeys(names, "")) == load_settings({})


@pytest.mark.parametrize(
    ("value", "controllers"),
    [
        ("http://u:a=b@h", {"default": "http://u:a=b@h/"}),
        ("one=http://h/jenkins", {"one": "http://h/jenkins/"}),
        ("ci-1=http://h, ci.2=https://u:t@i:8443//", {"ci-1": "http://h/", "ci.2": "https://u:t@i:8443/"}),
    ],
)
def test_controllers_have_names(value: str, controllers: dict[str, str]):
    assert load_settings({"JENKINS_URL": value}).controllers == controllers


@pytest.mark.parametrize(
    "value",
    [
        "http://h,http://i",
        "one=http://h,http://i",
        "one=http://h,one=http://i",
        "one=http://h,",
        "one two=http://h",
        "=http://h",
    ],
)
def test_several_controllers_without_different_names_are_refused(value: str):
    problem_of("JENKINS_URL", value)
