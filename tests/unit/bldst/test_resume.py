"""Resume and its context, checkpoints, reports and watching."""

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.unit.bldst.conftest import RecordingServer, Run, http_answer

_CONTEXT = {
    "build_id": "b-1",
    "current_state": 20,
    "last_successful_state": 10,
    "failed_state": 20,
    "resume_from_state": 20,
    "artifacts": [{"artifact_name": "base", "is_final": False}],
    "variables": {"vm_id": "i-1"},
    "resumable_state_config": None,
}


class TestResume:
    def test_request_and_context_are_printed_as_one_object(self, server: RecordingServer, run: Run):
        request = {"id": "r1", "orchestration_status": "pending", "resume_from_state": 35}
        server.says("POST /builds/b-1/resume", request, 201)
        server.says("GET /builds/b-1/resume-context", _CONTEXT)
        ran = run(
            "build resume b-1 --from-state 35 --reason 'Network' --platform concourse --pipeline rhel9 --job base"
        )
        assert json.loads(ran.out) == {**_CONTEXT, "resume_from_state": 35, "resume_request": request}
        assert [str(request) for request in server.requests] == [
            "POST /builds/b-1/resume",
            "GET /builds/b-1/resume-context",
        ]
        assert server.requests[0].body == {
            "resume_from_state": 35,
            "resume_reason": "Network",
            "request_source": "bldst",
            "orchestration_config": {"platform": "concourse", "pipeline": "rhel9", "job": "base"},
        }

    def test_grammar_of_the_jenkins_library_prints_json_at_a_terminal_too(self, server: RecordingServer, run: Run):
        server.says("GET /builds/b-1/resume-context", _CONTEXT)
        ran = run("build resume --build-id 'b-1' --from-state '200'", terminal=True)
        assert json.loads(ran.out)["build_id"] == "b-1"
        assert server.requests[0].body == {"resume_from_state": 200, "request_source": "bldst"}

    def test_refused_request(self, server: RecordingServer, run: Run):
        server.says("POST /builds/b-1/resume", {"detail": "The variable vm_id is absent."}, 409)
        ran = run("build resume b-1")
        assert (ran.code, ran.out, ran.err) == (1, "", "bldst: The variable vm_id is absent.\n")


class TestResumeContext:
    def _context(self, server: RecordingServer, **variables: Any) -> None:
        server.says("GET /builds/b-1/resume-context", {**_CONTEXT, "variables": variables})

    def test_lines_for_a_shell(self, server: RecordingServer, run: Run):
        self._context(server, vm_id="i-1", retry=True, none=None)
        assert run("build resume-context b-1 -o env").out.splitlines() == [
            "BUILD_ID='b-1'",
            "RESUME_FROM_STATE='20'",
            "LAST_SUCCESSFUL_STATE='10'",
            "none=''",
            "retry='true'",
            "vm_id='i-1'",
        ]

    @pytest.mark.parametrize("shell", ["dash", "bash"])
    def test_shell_gets_the_values_and_runs_nothing(
        self, shell: str, tmp_path: Path, server: RecordingServer, run: Run
    ):
        value = 'it\'s $(touch ran) `touch ran`\\\n"quoted" \t; touch ran # end'
        self._context(server, note=value, **{"a b": "touch ran", "x;touch ran;y": "1", "n\ntouch ran": "1"})
        (tmp_path / "context").write_text(run("build resume-context b-1 --output env").out)
        script = '. ./context; printf %s "$note"'
        ran = subprocess.run(
            [shell, "-euc", script], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=10
        )
        assert ran.stdout == value
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize(
        "name",
        [
            "PATH",
            "IFS",
            "LD_PRELOAD",
            "BASH_ENV",
            "BLDST_API_URL",
            "BUILDSTATE_API_KEY",
            "PYTHONPATH",
            "BUILD_ID",
            "UID",
            "GIT_SSH",
            "FUNCNEST",
            "POSIXLY_CORRECT",
            "TMOUT",
            "LANG",
        ],
    )
    def test_names_that_steer_the_shell_are_left_out(self, name: str, server: RecordingServer, run: Run):
        self._context(server, **{name: "x"})
        assert (
            f"# {name}: left out, because the name has a meaning of its own"
            in run("build resume-context b-1 -o env").out
        )

    def test_masked_values_are_left_out(self, server: RecordingServer, run: Run):
        self._context(server, password="******")
        assert "# password: sensitive, and not shown to this key" in run("build resume-context b-1 -o env").out

    def test_yaml(self, server: RecordingServer, run: Run):
        server.says("GET /builds/b-1/resume-context", {**_CONTEXT, "variables": {"a: b": "yes\n", "list": [1, [], {}]}})
        out = run("build resume-context b-1 -o yaml").out
        yaml = pytest.importorskip("yaml")
        assert yaml.safe_load(out) == {**_CONTEXT, "variables": {"a: b": "yes\n", "list": [1, [], {}]}}

    def test_json(self, server: RecordingServer, run: Run):
        server.says("GET /builds/b-1/resume-context", _CONTEXT)
        assert json.loads(run("build resume-context b-1 --output json").out) == _CONTEXT


class TestCheckpoint:
    def test_state_is_recorded_after_its_artifacts_and_variables(
        self, tmp_path: Path, server: RecordingServer, run: Run
    ):
        image = tmp_path / "base.qcow2"
        image.write_bytes(b"image")
        upload = "PUT /builds/b-1/artifacts/base.qcow2/content?state_code=20"
        server.says(upload, {"checksum": hashlib.sha256(b"image").hexdigest()}, 201)
        ran = run(
            f"checkpoint packages --state 20 --artifact {image} --artifact s3://builds/20/snap.vmdk"
            " --artifact aws://snap-1 --var vm_id=i-1 --var note=a=b",
            BLDST_BUILD_ID="b-1",
        )
        assert ran.code == 0, ran.err
        of_artifact = {"is_resumable": True, "state_code": 20}
        of_variable = {"is_required_for_resume": True, "set_at_state": 20}
        uploaded = server.requests.pop(0)
        assert (str(uploaded), uploaded.raw, uploaded.headers["content-length"]) == (upload, b"image", "5")
        assert [(str(request), request.body) for request in server.requests] == [
            (
                "POST /builds/b-1/artifacts",
                {
                    "artifact_name": "snap.vmdk",
                    "artifact_type": "reference",
                    "artifact_path": "s3://builds/20/snap.vmdk",
                    "storage_backend": "s3",
                    "storage_bucket": "builds",
                    "storage_key": "20/snap.vmdk",
                    **of_artifact,
                },
            ),
            (
                "POST /builds/b-1/artifacts",
                {
                    "artifact_name": "snap-1",
                    "artifact_type": "reference",
                    "artifact_path": "aws://snap-1",
                    "storage_backend": "aws",
                    **of_artifact,
                },
            ),
            ("POST /builds/b-1/variables", {"variable_key": "vm_id", "variable_value": "i-1", **of_variable}),
            ("POST /builds/b-1/variables", {"variable_key": "note", "variable_value": "a=b", **of_variable}),
            ("POST /builds/b-1/state", {"state_code": 20, "status": "packages"}),
        ]
        assert ran.err.splitlines() == [
            f"bldst: {image} is uploaded (5 bytes)",
            "bldst: checkpoint packages is recorded at state 20 with 3 artifacts and 2 variables",
        ]

    @pytest.mark.parametrize(
        ("options", "code", "sentence"),
        [
            ("--var k=v --artifact /missing", 1, "/missing: No such file or directory"),
            ("--artifact s3://b/k --var secret", 2, "--var takes KEY=VALUE, not 'secret'"),
        ],
    )
    def test_nothing_is_sent_if_a_part_is_wrong(
        self, options: str, code: int, sentence: str, server: RecordingServer, run: Run
    ):
        ran = run(f"checkpoint b-1 base --state 20 {options}")
        assert (ran.code, ran.err, server.requests) == (code, f"bldst: {sentence}\n", [])

    def test_file_that_was_stored_with_another_checksum_is_no_checkpoint(
        self, server: RecordingServer, run: Run, tmp_path: Path
    ):
        (tmp_path / "disk").write_bytes(b"image")
        server.default = {"checksum": "of other bytes"}
        ran = run(f"checkpoint b-1 base --state 20 --artifact {tmp_path}/disk")
        assert (ran.code, "was changed while it was sent" in ran.err) == (1, True)
        assert len(server.requests) == 1

    def test_state_is_not_recorded_without_its_artifact(self, server: RecordingServer, run: Run):
        server.says("POST /builds/b-1/artifacts", {"detail": "Another artifact has this name."}, 400)
        assert run("checkpoint b-1 base --state 20 --artifact s3://b/k --var k=v").code == 1
        assert [str(request) for request in server.requests] == ["POST /builds/b-1/artifacts"]


class TestReport:
    @pytest.fixture(autouse=True)
    def _builds(self, server: RecordingServer) -> None:
        aws = {
            "id": "c1",
            "build_number": "42-aws",
            "platform": {"name": "aws"},
            "status": "completed",
            "current_state": 100,
            "duration_seconds": 301.5,
            "ami_id": "ami-1",
        }
        gcp = {
            "id": "c2",
            "build_number": "42-gcp",
            "status": "failed",
            "current_state": 25,
            "failures": [{"error_message": "quota"}],
        }
        parent = {
            "id": "b-1",
            "build_number": "42",
            "status": "failed",
            "current_state": 50,
            "children": [{"id": "c1"}, {"id": "c2"}],
        }
        server.says("GET /builds/b-1", parent)
        server.says("GET /builds/c1", aws)
        server.says("GET /builds/c2", gcp)
        server.default = []
        server.says(
            "GET /builds/c1/artifacts?is_final=true", [{"artifact_path": "s3://b/aws.img"}, {"artifact_path": "ami-1"}]
        )

    def test_text(self, run: Run):
        assert run("build report b-1").out.splitlines() == [
            "Build 42: failed at state 50",
            "  42-aws: completed at state 100, 5:01 min, ami-1, s3://b/aws.img",
            "  42-gcp: failed at state 25, quota",
            "1 of 2 children are completed, 1 failed",
        ]

    def test_json(self, run: Run):
        data = json.loads(run("build report b-1 -o json").out)
        assert data["summary"] == {"total": 2, "completed": 1, "failed": 1}
        assert [child["platform"] for child in data["children"]] == ["aws", None]


class TestWatch:
    @pytest.fixture(autouse=True)
    def pauses(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        slept: list[float] = []
        monkeypatch.setattr("bldst.watch.time.sleep", slept.append)
        return slept

    def _build(self, status: str, *codes: int, **fields: Any) -> bytes:
        states = [{"id": str(code), "state": code, "status": "x", "start_time": "T"} for code in codes]
        return http_answer({"id": "b-1", "status": status, "states": states, **fields})

    def test_states_are_printed_once_until_the_end(self, pauses: list[float], server: RecordingServer, run: Run):
        busy = http_answer({"detail": "Too busy"}, 503)
        server.will(
            "GET /builds/b-1",
            self._build("running", 10),
            b"",
            busy,
            self._build("running", 10, 20),
            self._build("completed", 10, 20),
        )
        ran = run("build watch b-1 --interval 2")
        assert (ran.code, ran.out) == (0, "T   10  x\nT   20  x\n")
        assert ran.err.count("; waiting") == 1
        assert ran.err.endswith("bldst: the build is completed\n")
        assert set(pauses) == {2}

    def test_failed_build_exits_1(self, server: RecordingServer, run: Run):
        server.will("GET /builds/b-1", self._build("failed", 10, failures=[{"error_message": "no space"}]))
        ran = run("build watch b-1 -o json")
        assert (ran.code, ran.err) == (1, "bldst: the build failed: no space\n")
        assert json.loads(ran.out)["state"] == 10

    @pytest.mark.parametrize("status", [401, 404])
    def test_refusal_ends_it(self, status: int, server: RecordingServer, run: Run):
        server.says("GET /builds/b-1", {"detail": "No."}, status)
        assert run("build watch b-1").code == 1
        assert len(server.requests) == 1

    def test_service_that_stays_away_ends_it(self, server: RecordingServer, run: Run, monkeypatch: pytest.MonkeyPatch):
        server.says("GET /builds/b-1", {"detail": "Too busy"}, 503)
        monkeypatch.setattr("bldst.watch._PATIENCE_SECONDS", -1)
        assert run("build watch b-1").err == "bldst: Too busy\n"

    def test_interval_is_at_least_a_second(self, run: Run):
        assert run("build watch b-1 --interval 0").code == 2
