"""Each command line that existing pipelines use, the request that it makes, and what it prints."""

from typing import Any, NamedTuple

import pytest

from bldst.commands import NOUNS, load
from bldst.grammar import Command, Noun
from tests.unit.bldst.conftest import RecordingServer, Run

_ID = "6b2d3f0e-8f8e-4a52-9d0b-1f1b1a6a2c11"
_BUILD = {"id": _ID, "build_id": _ID, "build_number": "42", "current_state": 25, "status": "running"}
_FAILED = {"state": -1, "failure_type": "BUILD_FAILED"}
_VARIABLE = {"variable_key": "vm_id", "variable_value": "i-1"}
_ARTIFACT = {
    "artifact_name": "base",
    "artifact_type": "vm_snapshot",
    "artifact_path": "s3://my-builds/a.qcow2",
    "state_code": 20,
    "storage_backend": "s3",
}


class Case(NamedTuple):
    line: str
    request: str
    body: Any = None
    out: str = ""
    answer: Any = _BUILD


CASES = [
    # Concourse pipelines and the original client
    Case(
        "build create --build-number n-1 --project-id p --platform-id aws-commercial --os-version-id rhel-8.10"
        " --image-type-id base --created-by concourse-x --concourse-url https://ci/x --concourse-job build",
        "POST /builds",
        {
            "build_number": "n-1",
            "project_id": "p",
            "platform_id": "aws-commercial",
            "os_version_id": "rhel-8.10",
            "image_type_id": "base",
            "created_by": "concourse-x",
            "concourse_pipeline_url": "https://ci/x",
            "concourse_job_name": "build",
        },
        _ID + "\n",
    ),
    Case(
        f"build add-state {_ID} --state 10 --status 'Preparing'",
        "POST /builds/ID/states",
        {"state": 10, "status": "Preparing"},
    ),
    Case(f"build add-state {_ID} --state 100", "POST /builds/ID/states", {"state": 100}),
    Case(
        f"build add-state {_ID} --state 20 --status completed --storage-type s3 --storage-path s3://b/k"
        " --artifact-size 2147483648 --checksum abc",
        "POST /builds/ID/states",
        {
            "state": 20,
            "status": "completed",
            "artifact_storage_type": "s3",
            "artifact_storage_path": "s3://b/k",
            "artifact_size_bytes": 2147483648,
            "artifact_checksum": "abc",
        },
    ),
    Case(
        f"build add-failure {_ID} --state 25 --type PIPELINE_FAILURE --message 'failed at stage: x'",
        "POST /builds/ID/failures",
        {"state": 25, "failure_type": "PIPELINE_FAILURE", "error_message": "failed at stage: x"},
    ),
    Case(
        f"build add-failure {_ID} --state 25 --type T --message M --component packer --details '{{\"a\": 1}}'",
        "POST /builds/ID/failures",
        {"state": 25, "failure_type": "T", "error_message": "M", "component": "packer", "error_details": {"a": 1}},
    ),
    Case(f"build states {_ID} -o json", "GET /builds/ID/states", None, "[]\n", []),
    Case(
        "build list --project-id p --platform aws-commercial --status in_progress --skip 5 --limit 20",
        "GET /builds?project_id=p&platform=aws-commercial&status=in_progress&skip=5&limit=20",
        None,
        "[]\n",
        [],
    ),
    Case(
        f"build update {_ID} --current-state 30 --status running --ami-id ami-1 --image-id i",
        "PUT /builds/ID",
        {"current_state": 30, "status": "running", "ami_id": "ami-1", "image_id": "i"},
    ),
    # the README
    Case(
        "build create --platform azure --os ubuntu-22.04 --type hana --id hana-001 --pipeline-url https://ci/hana"
        " --commit abc123",
        "POST /builds",
        {
            "platform": "azure",
            "os_version": "ubuntu-22.04",
            "image_type": "hana",
            "build_id": "hana-001",
            "pipeline_url": "https://ci/hana",
            "commit_hash": "abc123",
        },
        _ID + "\n",
    ),
    Case(
        f"state update {_ID} --state 25 --message 'done'",
        "POST /builds/ID/state",
        {"state_code": 25, "message": "done"},
    ),
    Case(f"state update {_ID} --state 100", "POST /builds/ID/state", {"state_code": 100}),
    Case(f"state get {_ID} --output text", "GET /builds/ID/state", None, "current_state\t25\n", {"current_state": 25}),
    Case(
        f"failure record {_ID} --error 'timeout' --code PACKER_TIMEOUT --component packer",
        "POST /builds/ID/failures",
        {"state": -1, "failure_type": "PACKER_TIMEOUT", "error_message": "timeout", "component": "packer"},
    ),
    Case(
        f"artifact create {_ID} --name base --type vm_snapshot --path s3://my-builds/a.qcow2 --state 20 --backend s3"
        " --region us-east-1 --bucket my-builds --key a.qcow2 --size 2147483648 --checksum abc"
        " --checksum-algorithm sha256 --resumable --not-final",
        "POST /builds/ID/artifacts",
        {
            **_ARTIFACT,
            "storage_region": "us-east-1",
            "storage_bucket": "my-builds",
            "storage_key": "a.qcow2",
            "size_bytes": 2147483648,
            "checksum": "abc",
            "checksum_algorithm": "sha256",
            "is_resumable": True,
            "is_final": False,
        },
    ),
    Case(
        f"artifact list {_ID} --state 20 --type ami --final",
        "GET /builds/ID/artifacts?state_code=20&artifact_type=ami&is_final=true",
        None,
        "[]\n",
        [],
    ),
    Case(f"artifact list {_ID} --resumable", "GET /builds/ID/artifacts?is_resumable=true", None, "[]\n", []),
    Case(f"artifact list-resumable {_ID}", "GET /builds/ID/artifacts?is_resumable=true", None, "[]\n", []),
    Case(f"artifact get {_ID} a1", "GET /builds/ID/artifacts/a1", None, "{}\n", {}),
    Case(
        f"artifact update {_ID} a1 --final --name final-ami",
        "PATCH /builds/ID/artifacts/a1",
        {"is_final": True, "artifact_name": "final-ami"},
    ),
    Case(f"artifact delete {_ID} a1 --yes", "DELETE /builds/ID/artifacts/a1"),
    Case("dashboard summary", "GET /dashboard/summary", None, "{}\n", {}),
    Case("dashboard recent --limit 15", "GET /dashboard/recent?limit=15", None, "[]\n", []),
    Case("user me", "GET /users/me", None, "{}\n", {}),
    # the Jenkins library: every value in quotes, a true flag bare, a false one absent
    Case(
        "build create --project-id 'p' --name 'job-7' --platform 'jenkins' --start-state '0' --os-version 'rhel-9'"
        " --image-type 'base' --image-variant 'cis' --metadata '{\"commit\":\"abc\"}'",
        "POST /builds",
        {
            "project_id": "p",
            "name": "job-7",
            "platform": "jenkins",
            "start_state": 0,
            "os_version": "rhel-9",
            "image_type": "base",
            "image_variant": "cis",
            "metadata": {"commit": "abc"},
        },
        _ID + "\n",
    ),
    Case(
        f"build update-state --build-id '{_ID}' --state-code '200' --message '--x' --metadata '{{\"a\":1}}'",
        "POST /builds/ID/state",
        {"state_code": 200, "message": "--x", "metadata": {"a": 1}},
    ),
    Case(
        f"build update-state --build-id '{_ID}' --state-code '100'",
        "POST /builds/ID/state",
        {"state_code": 100, "final": False},
    ),
    Case(
        f"artifact create --build-id '{_ID}' --artifact-type 'ami' --artifact-location 'ami-1' --state-code '400'"
        " --is-final --checksum-type 'sha256' --checksum-value 'abc' --size-bytes '12' --metadata '{\"r\":\"eu\"}'",
        "POST /builds/ID/artifacts",
        {
            "artifact_type": "ami",
            "artifact_path": "ami-1",
            "state_code": 400,
            "is_resumable": False,
            "is_final": True,
            "checksum_algorithm": "sha256",
            "checksum": "abc",
            "size_bytes": 12,
            "metadata": {"r": "eu"},
        },
    ),
    Case(f"artifact list --build-id '{_ID}'", "GET /builds/ID/artifacts", None, "[]\n", []),
    Case(
        f"variable set --build-id '{_ID}' --key 'vm_id' --value 'i-1' --variable-type 'string' --state-code '20'"
        " --required-for-resume",
        "POST /builds/ID/variables",
        {
            **_VARIABLE,
            "variable_type": "string",
            "set_at_state": 20,
            "is_required_for_resume": True,
            "is_sensitive": False,
        },
    ),
    Case(
        f"variable set --build-id '{_ID}' --key 'vm_id' --variable-type 'string' --is-sensitive",
        "POST /builds/ID/variables",
        {
            "variable_key": "vm_id",
            "variable_value": "",
            "variable_type": "string",
            "is_required_for_resume": False,
            "is_sensitive": True,
        },
    ),
    Case(f"variable get --build-id '{_ID}' --key 'vm_id'", "GET /builds/ID/variables/vm_id", None, "i-1\n", _VARIABLE),
    Case(
        f"build complete --build-id '{_ID}' --state-code '999' --message 'Build completed'",
        "PUT /builds/ID",
        {"status": "completed", "current_state": 999, "message": "Build completed"},
    ),
    Case(
        f"build fail --build-id '{_ID}' --state-code '-1' --message 'no space' --error-message 'no space'",
        "POST /builds/ID/failures",
        {**_FAILED, "error_message": "no space"},
    ),
    # packer templates
    Case(
        "builds create --project-id 'p' --image-type base --os-distribution ubuntu --os-version '22.04' --format json",
        "POST /builds",
        {"project_id": "p", "image_type": "base", "os_distribution": "ubuntu", "os_version": "22.04"},
        '{\n  "id": "b"\n}\n',
        {"id": "b"},
    ),
    Case(
        f'builds update-state --build-id "{_ID}" --state-code PROVISIONING --message "Installing"',
        "POST /builds/ID/state",
        {"state_code": "PROVISIONING", "message": "Installing"},
    ),
    Case(
        f"artifacts record --build-id {_ID} --type ami --path ami-1",
        "POST /builds/ID/artifacts",
        {"artifact_type": "ami", "artifact_path": "ami-1"},
    ),
    Case(
        f"build add-artifact {_ID} --type ami --path ami-1",
        "POST /builds/ID/artifacts",
        {"artifact_type": "ami", "artifact_path": "ami-1"},
    ),
    # resumable builds
    Case(
        f"build update-state {_ID} --state 5 --status in_progress --message 'Validating'",
        "POST /builds/ID/state",
        {"state_code": 5, "status": "in_progress", "message": "Validating"},
    ),
    Case(
        f"build record-failure {_ID} --state 20 --error 'Package installation failed' --retryable",
        "POST /builds/ID/failures",
        {
            "state": 20,
            "failure_type": "BUILD_FAILED",
            "error_message": "Package installation failed",
            "retryable": True,
        },
    ),
    Case(
        f"artifact register {_ID} --state 20 --name base --type vm_snapshot --path s3://my-builds/a.qcow2 --backend s3"
        ' --resumable --metadata \'{"vm": "i-1"}\'',
        "POST /builds/ID/artifacts",
        {**_ARTIFACT, "is_resumable": True, "metadata": {"vm": "i-1"}},
    ),
    Case(
        f"variable set {_ID} vm_id=i-1 --state 20 --required-for-resume",
        "POST /builds/ID/variables",
        {**_VARIABLE, "set_at_state": 20, "is_required_for_resume": True},
    ),
    Case(f"variable get {_ID} vm_id", "GET /builds/ID/variables/vm_id", None, "i-1\n", _VARIABLE),
    Case(f"variable list {_ID}", "GET /builds/ID/variables", None, "[]\n", []),
    Case(f"variable delete {_ID} vm_id", "DELETE /builds/ID/variables/vm_id"),
    Case(f"build resume-requests {_ID}", "GET /builds/ID/resume-requests", None, "[]\n", []),
    Case("resume-request get r1", "GET /resume-requests/r1", None, "{}\n", {}),
    Case(
        "resume-request update r1 --status completed --job-url https://ci/7",
        "PATCH /resume-requests/r1",
        {"orchestration_status": "completed", "orchestration_job_url": "https://ci/7"},
    ),
    Case(
        "resumable-state create p --state 35 --strategy from_artifact --required-artifacts 'vm_snapshot,network'"
        " --required-variables vm_id, --command ./resume.sh --timeout 3600",
        "POST /projects/p/resumable-states",
        {
            "is_resumable": True,
            "state_code": 35,
            "resume_strategy": "from_artifact",
            "required_artifacts": ["vm_snapshot", "network"],
            "required_variables": ["vm_id"],
            "resume_command": "./resume.sh",
            "resume_timeout_seconds": 3600,
        },
    ),
    Case("resumable-state list p", "GET /projects/p/resumable-states", None, "[]\n", []),
    Case("resumable-state get p 35", "GET /projects/p/resumable-states/35", None, "{}\n", {}),
    Case(
        "resumable-state update p 35 --timeout 7200",
        "PUT /projects/p/resumable-states/35",
        {"resume_timeout_seconds": 7200},
    ),
    # lists that builds refer to
    Case(
        "platform create --name aws-1 --cloud-provider aws --region us-east-1",
        "POST /platforms",
        {"name": "aws-1", "cloud_provider": "aws", "region": "us-east-1"},
        _ID + "\n",
    ),
    Case(
        "os-version create --name Ubuntu --version 22.04",
        "POST /os-versions",
        {"name": "Ubuntu", "version": "22.04"},
        _ID + "\n",
    ),
    Case("image-type list --skip 1 --limit 2", "GET /image-types?skip=1&limit=2", None, "[]\n", []),
    Case("platform list --include-deactivated", "GET /platforms?include_deactivated=true", None, "[]\n", []),
    Case("cloud-provider get aws", "GET /cloud-providers/aws", None, "{}\n", {}),
    Case(
        "os-distribution update u1 --display-name 'Ubuntu Linux'",
        "PUT /os-distributions/u1",
        {"display_name": "Ubuntu Linux"},
    ),
    Case("image-variant delete v1", "DELETE /image-variants/v1"),
    Case(
        "project create --name rhel --description 'RHEL images' --parent-id p0",
        "POST /projects",
        {"name": "rhel", "description": "RHEL images", "parent_project_id": "p0"},
        _ID + "\n",
    ),
    Case(
        "state-code create --project-id p --code 48 --name creating --display-name Creating --color '#fff'"
        " --is-terminal --sort-order 3",
        "POST /state-codes",
        {
            "project_id": "p",
            "code": 48,
            "name": "creating",
            "display_name": "Creating",
            "color": "#fff",
            "is_terminal": True,
            "sort_order": 3,
        },
        _ID + "\n",
    ),
    Case("state-code list", "GET /state-codes", None, "[]\n", []),
    Case("state-code list --project-id a/b --limit 5", "GET /projects/a%2Fb/state-codes?limit=5", None, "[]\n", []),
    # options of all commands, anywhere
    Case("--output json build get x", "GET /builds/x", None, "{}\n", {}),
    Case("build -o json get x", "GET /builds/x", None, "{}\n", {}),
    Case("build get p/42 --format=json", "GET /builds/p%2F42", None, "{}\n", {}),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: " ".join(case.line.replace(_ID, "ID").split()[:3]))
def test_command_line_makes_its_request(case: Case, server: RecordingServer, run: Run):
    server.default = case.answer
    ran = run(case.line)
    assert ran.code == 0, ran.err
    [request] = server.requests
    assert str(request).replace(_ID, "ID") == case.request
    assert request.body == case.body
    assert request.headers["x-api-key"] == "the-key"
    assert ran.out == case.out


@pytest.mark.parametrize("variable", ["BLDST_BUILD_ID", "BUILDSTATE_BUILD_ID"])
@pytest.mark.parametrize(
    ("line", "request_line"),
    [
        ("build get", "GET /builds/b-1"),
        ("build add-state --state 5", "POST /builds/b-1/states"),
        ("artifact get a1", "GET /builds/b-1/artifacts/a1"),
        ("variable set vm_id=i-1", "POST /builds/b-1/variables"),
        ("variable delete vm_id", "DELETE /builds/b-1/variables/vm_id"),
        ("build get other", "GET /builds/other"),
        ("variable set other vm_id=i-1", "POST /builds/other/variables"),
    ],
)
def test_build_may_be_named_by_the_environment(
    line: str, request_line: str, variable: str, server: RecordingServer, run: Run
):
    server.default = _BUILD
    assert run(line, **{variable: "b-1"}).code == 0
    assert [str(request) for request in server.requests] == [request_line]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("", "there is no command: bldst --help"),
        ("--output json", "there is no command: bldst --help"),
        ("health check now", "health check takes no further word 'now'"),
        ("--is-final build get b", "there is no option --is-final before the command: bldst --help"),
        ("builld get", "there is no command builld: did you mean build?"),
        ("build", "build needs a command: bldst build --help"),
        ("build creat", "build has no command creat: did you mean create?"),
        ("build create --platfrm x", "build create has no option --platfrm: did you mean --platform?"),
        ("build add-state b --state", "--state needs a value"),
        ("build add-state b --state ten", "--state takes a number, not 'ten'"),
        ("build add-state b", "build add-state needs --state"),
        ("build add-state --state 10", "build add-state needs the id of a build (or BLDST_BUILD_ID)"),
        ("variable get vm_id", "variable get needs the id of a build (or BLDST_BUILD_ID) and VARIABLE_KEY"),
        ("variable set vm_id=i-1", "variable set needs the id of a build (or BLDST_BUILD_ID)"),
        ("build add-state '' --state 10", "no build id: did bldst build create fail?"),
        ("build add-state null --state 10", "no build id: did bldst build create fail?"),
        ("build update-state --build-id '' --state 10", "no build id: did bldst build create fail?"),
        ("build get b c", "build get takes no further word 'c'"),
        ("build create --metadata '{a'", "--metadata takes JSON: "),
        ("build create --platform-id ''", "no platform id: is there a platform of that name? bldst platform list"),
        (
            "build create --os-version-id ''",
            "no os version id: is there an os version of that name? bldst os-version list",
        ),
        ("build create --project-id null", "no project id: is there a project of that name? bldst project list"),
        ("build list --project-id ''", "no project id: is there a project of that name? bldst project list"),
        ("build list --project ''", "no project id: is there a project of that name? bldst project list"),
        ("build get b -o xml", "--output is one of table, json, text, not 'xml'"),
        ("build resume-context b -o xml", "--output is one of table, json, text, yaml, env, not 'xml'"),
        ("variable set b", "variable set needs KEY=VALUE, or --key and --value"),
        ("variable set b k=v secret", "variable set takes KEY=VALUE, not 'secret'"),
        ("artifact create b --type ami", "artifact create needs --path"),
        ("artifact delete b a1", "there is no terminal to ask on: add --yes"),
        ("config set-url ''", "no url: the word is empty"),
        ("health check --is-final=maybe", "health check has no option --is-final"),
        ("artifact create b --type t --path p --final=maybe", "--final takes true or false, or no value"),
    ],
)
def test_wrong_command_line_exits_2_and_sends_nothing(line: str, sentence: str, server: RecordingServer, run: Run):
    ran = run(line)
    assert (ran.code, ran.out, server.requests) == (2, "", [])
    assert ran.err.startswith(f"bldst: {sentence}")


def _commands() -> list[tuple[Noun, Command]]:
    return [(noun, command) for noun in map(load, NOUNS) for command in noun.commands]


@pytest.mark.parametrize(
    ("noun", "command"), _commands(), ids=lambda each: each.name if isinstance(each, Noun) else each.names[0]
)
def test_every_command_has_help_and_the_fields_that_its_path_names(noun: Noun, command: Command, run: Run):
    ran = run(f"{noun.name if command is noun.only_command else f'{noun.name} {command.names[0]}'} --help")
    assert (ran.code, ran.err) == (0, "")
    assert command.about in ran.out
    assert all(name in ran.out for option in command.options for name in option.names)
    fields = {name.rstrip("?.") for name in command.positionals} | {option.field for option in command.options}
    path = [part.partition("}")[0] for part in command.path.split("{")[1:]]
    assert set(path) <= fields
    assert set(command.required) <= fields


def test_version_and_overview(run: Run):
    assert run("--version").out.split()[0] == "bldst"
    assert "resumable-state" in run("--help").out
    assert "add-state" in run("build --help").out
