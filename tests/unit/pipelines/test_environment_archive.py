"""The environment archive: exact bytes, correct folders, and no secrets in errors and representations."""

import io
import json
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from jenkins_pipelines.argument_names import Passing, passing_of
from jenkins_pipelines.environment import AgentEnvironment, environment_archive


def environment(**changes) -> AgentEnvironment:
    return AgentEnvironment.model_validate({"app_id": "a", "build_id": "b", "build_uuid": "u"} | changes)


def unpacked(wanted: AgentEnvironment) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(environment_archive(wanted))) as archive:
        members = archive.getmembers()
        assert all(member.isreg() and member.mode == 0o600 for member in members)
        return {member.name: archive.extractfile(member).read() for member in members}


@settings(deadline=None, derandomize=True)
@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters())))
def test_each_variable_is_one_line_that_is_a_member_of_a_json_object(variables: dict[str, str]) -> None:
    found = unpacked(environment(variables=variables, own_variables={"a": "b"}))
    lines = found["variables/given"].decode("utf-8", "surrogatepass").split("\n")[:-1]
    assert [json.loads("{" + line + "}") for line in lines] == [{name: value} for name, value in variables.items()]
    assert found["variables/own"] == b'"a":"b"\n'


def test_variables_that_are_json_arrays_or_objects_are_listed_once_more() -> None:
    variables = {"list": '["a",\n {"b": 1}]', "map": ' {"ü": null}', "text": "[a", "number": "1", "null": "null"}
    variables |= {"deep": "[" * 100_000, "infinite": "[1e999]", "nan": "[NaN]"}
    listed = unpacked(environment(variables=variables))["variables/collections"].decode()
    assert listed == '"list":["a", {"b": 1}]\n"map":{"ü": null}\n'


@settings(deadline=None, derandomize=True)
@given(st.text(st.characters(exclude_characters="\0")))
def test_argument_value_is_the_exact_content_of_a_file(value: str) -> None:
    found = unpacked(environment(arguments={"NAME": value}))
    assert found["arguments/000001"] == f"NAME={value}".encode("utf-8", "surrogatepass")


@pytest.mark.parametrize(
    ("passing", "names"),
    [
        (Passing.SHELL_VARIABLE, "_ IFS UID PPID OPTIND RANDOM LC_ALL LANG PWD"),
        (
            Passing.STEERING,
            """PATH LD_PRELOAD BASH_ENV ENV HOME TMPDIR DOCKER_HOST BUILDAH_ISOLATION
            STORAGE_DRIVER CONTAINERS_CONF REGISTRY_AUTH_FILE XDG_CONFIG_HOME http_proxy HTTPS_PROXY No_Proxy""",
        ),
        (
            Passing.ORDINARY,
            """NAME a _A PATHS MYPATH GOOGLE_KEY REGISTRY DOCKER BUILDER proxy LDX_Y xDOCKER_HOST BUILD_TOKEN JOB_KEY
            SHUTTLE_TOKEN WORKSPACE CI""",
        ),
    ],
)
def test_argument_names_are_classified(passing: Passing, names: str) -> None:
    assert {name: passing_of(name) for name in names.split()} == dict.fromkeys(names.split(), passing)


def test_credentials_of_a_reference_take_precedence_over_those_of_its_registry() -> None:
    found = unpacked(
        environment(
            destinations=["r.example/one:1", "r.example/two:1", "other.example/x:1"],
            registries={"r.example": ("all", "p"), "r.example/two:1": ("two", "p")},
        )
    )
    assert json.loads(found["destinations/000001/config.json"])["auths"]["r.example"]["auth"] == "YWxsOnA="
    assert json.loads(found["destinations/000002/config.json"])["auths"]["r.example"]["auth"] == "dHdvOnA="
    assert "destinations/000003/config.json" not in found
    assert json.loads(found["base_images/config.json"])["auths"] == {"r.example": {"auth": "YWxsOnA="}}


def test_docker_hub_has_the_key_that_docker_uses() -> None:
    found = unpacked(environment(registries={"docker.io": ("u", "p")}))
    assert set(json.loads(found["base_images/config.json"])["auths"]) == {"https://index.docker.io/v1/", "docker.io"}


@pytest.mark.parametrize(
    ("reference", "insecure"),
    [
        ("localhost/x", True),
        ("LOCALHOST:5000/x", True),
        ("127.8.0.1:5000/x", True),
        ("[::1]:5000/x", True),
        ("lab.example:5000/x", True),
        ("lab.example/x", False),
        ("localhost.example/x", False),
        ("10.0.0.1/x", False),
    ],
)
def test_loopback_and_listed_registries_may_lack_tls(reference: str, insecure: bool) -> None:
    found = unpacked(environment(destinations=[reference], insecure_registries=["lab.example:5000"]))
    assert ("destinations/000001/insecure" in found) is insecure


@pytest.mark.parametrize("arguments", [{"A": "nul\0"}, {"A-B": ""}, {"A=B": ""}, {"../x": ""}, {"": ""}])
def test_arguments_that_no_environment_can_hold_are_refused_without_their_value(arguments: dict[str, str]) -> None:
    with pytest.raises(ValidationError) as refused:
        environment(arguments=arguments | {"OTHER": "s3cr3t-value"})
    assert "s3cr3t-value" not in str(refused.value)


def test_repr_has_no_secrets() -> None:
    secret = {"A": "s3cr3t-one"}
    shown = repr(environment(arguments=secret, variables=secret, registries={"r": ("u", "s3cr3t-two")}))
    assert "s3cr3t" not in shown


def test_equal_environments_give_equal_bytes() -> None:
    assert environment_archive(environment(arguments={"A": "1"})) == environment_archive(
        environment(arguments={"A": "1"})
    )
