"""What is printed for people at a terminal, for programs, and in each format."""

import io
import json
import sys

import pytest

from bldst.__main__ import main
from tests.unit.bldst.conftest import RecordingServer, Run, Stream

_ID = "6b2d3f0e-8f8e-4a52-9d0b-1f1b1a6a2c11"
_ROWS = [
    {"id": "p1", "name": "aws-commercial", "cloud_provider": "aws", "region": None, "created_at": "2030-01-01"},
    {"id": "p2", "name": "a\x1b[2Jb\n", "cloud_provider": "gcp", "region": "eu", "created_at": "2030-01-01"},
]
_TABLE = """\
ID  NAME            CLOUD PROVIDER  REGION
p1  aws-commercial  aws             -
p2  a [2Jb          gcp             eu
"""


@pytest.mark.parametrize(
    ("options", "terminal", "printed"),
    [
        ("", True, _TABLE),
        ("--output table", False, _TABLE),
        ("-o text", True, "p1\taws-commercial\taws\t-\np2\ta [2Jb \tgcp\teu\n"),
        ("-o json", True, json.dumps(_ROWS, indent=2) + "\n"),
        ("", False, json.dumps(_ROWS, indent=2) + "\n"),
    ],
)
def test_list_is_a_table_at_a_terminal_and_json_for_a_program(
    options: str, terminal: bool, printed: str, server: RecordingServer, run: Run
):
    server.default = _ROWS
    assert run(f"platform list {options}", terminal=terminal).out == printed


@pytest.mark.parametrize(
    ("answer", "printed"),
    [
        (
            {"id": "b", "is_final": True, "platform": {"name": "aws"}},
            'id        b\nis_final  yes\nplatform  {"name": "aws"}\n',
        ),
        ([], "none\n"),
        (["a", None], "VALUE\na\n-\n"),
        ("text", "text\n"),
        ({}, ""),
    ],
)
def test_answers_of_any_shape_are_printed(answer: object, printed: str, server: RecordingServer, run: Run):
    server.default = answer
    assert run("build get b", terminal=True).out == printed


def test_builds_show_the_names_of_what_they_refer_to(server: RecordingServer, run: Run):
    server.default = [
        {"id": _ID, "build_number": "42", "status": "running", "platform": {"name": "aws"}, "project": None}
    ]
    assert run("build list", terminal=True).out.splitlines() == [
        "ID                                    PROJECT  BUILD NUMBER  STATUS   PLATFORM",
        f"{_ID}  -        42            running  aws",
    ]


@pytest.mark.parametrize(
    ("variables", "options", "printed"),
    [
        ({}, "", f"{_ID}\n"),
        ({"BUILDSTATE_API_URL": "URL", "BLDST_API_URL": " "}, "", f"Build ID: {_ID}\n"),
        ({"BUILDSTATE_API_URL": "URL"}, "", f"{_ID}\n"),
        ({"BUILDSTATE_API_URL": "URL", "BLDST_API_URL": ""}, "-o json", f'{{\n  "build_id": "{_ID}"\n}}\n'),
        ({}, "-o text", f"{_ID}\n"),
    ],
)
def test_created_build_is_printed_as_its_caller_reads_it(
    variables: dict[str, str], options: str, printed: str, server: RecordingServer, run: Run
):
    """Shells assign the id to a variable; the Jenkins library searches for `Build ID:`."""
    server.default = {"build_id": _ID}
    named = {name: value.replace("URL", server.url) for name, value in variables.items()}
    assert run(f"build create --id 42 {options}", **named).out == printed


def test_answer_without_an_id_is_an_error(run: Run):
    assert run("build create").err == "bldst: the answer has no id\n"


def test_writes_print_a_sentence_on_stderr_and_data_if_a_format_is_asked_for(server: RecordingServer, run: Run):
    server.default = {"state": 5, "status": "x"}
    silent = run("build add-state b --state 5 --status x")
    assert (silent.out, silent.err) == ("", "bldst: state 5 is recorded\n")
    assert json.loads(run("build add-state b --state 5 --status x -o json").out) == server.default


def test_other_characters_than_ascii_are_escaped_in_json_for_a_stream_that_lacks_them(server: RecordingServer):
    server.default = {"name": "Köln"}
    for encoding, text in (("utf-8", '"Köln"'), ("latin-1", '"K\\u00f6ln"')):
        raw = io.BytesIO()
        out = io.TextIOWrapper(raw, encoding=encoding)
        assert main(["project", "get", "x"], {"BLDST_API_URL": server.url}, out, Stream(), Stream()) == 0
        assert text.encode(encoding) in raw.getvalue()


def test_deletion_is_confirmed_at_a_terminal(server: RecordingServer, run: Run):
    refused = run("artifact delete b a1", stdin="n\n", terminal=True)
    assert (refused.code, refused.err) == (1, "bldst: delete the artifact a1? [y/N]\nbldst: nothing was done\n")
    assert server.requests == []
    assert run("artifact delete b a1", stdin="y\n", terminal=True).code == 0
    assert [str(request) for request in server.requests] == ["DELETE /builds/b/artifacts/a1"]


class TestHealth:
    @pytest.mark.parametrize(
        ("line", "path"),
        [
            ("health", "/ready"),
            ("health check", "/ready"),
            ("health ready", "/ready"),
            ("health readiness", "/health/readiness"),
            ("health liveness", "/health/liveness"),
        ],
    )
    def test_ready_service(self, line: str, path: str, server: RecordingServer, run: Run):
        server.default = {"status": "ready", "database": "ok", "cache": "ok"}
        ran = run(line)
        assert (ran.code, ran.out, ran.err) == (0, "", "bldst: the service is ready: database ok, cache ok\n")
        assert [str(request) for request in server.requests] == [f"GET {path}"]

    def test_service_that_is_not_ready(self, server: RecordingServer, run: Run):
        server.says("GET /ready", {"status": "unready", "database": "error", "cache": "ok"}, 503)
        ran = run("health check -o json")
        assert (ran.code, ran.err) == (1, "bldst: the service is unready: database error, cache ok\n")
        assert json.loads(ran.out)["database"] == "error"

    @pytest.mark.parametrize(
        ("answer", "status"), [({"detail": "Too busy"}, 503), (b"<html>", 503), ({"detail": "?"}, 500)]
    )
    def test_other_answers_are_failures(self, answer: object, status: int, server: RecordingServer, run: Run):
        server.says("GET /ready", answer, status)
        assert run("health").code == 1

    def test_status_prints_its_data(self, server: RecordingServer, run: Run):
        server.default = {"status": "operational", "version": "0.1.0", "database": {"builds_count": 3}}
        ran = run("health status")
        assert (ran.code, ran.err) == (0, "bldst: the service is operational\n")
        assert json.loads(ran.out)["version"] == "0.1.0"


class TestVariables:
    def test_several_are_set_one_after_the_other(self, server: RecordingServer, run: Run):
        ran = run("variable set b vm_id=i-1 'note=a=b' empty= --state 20")
        assert [(body["variable_key"], body["variable_value"]) for body in (r.body for r in server.requests)] == [
            ("vm_id", "i-1"),
            ("note", "a=b"),
            ("empty", ""),
        ]
        assert ran.err == "".join(f"bldst: variable {name} is set\n" for name in ("vm_id", "note", "empty"))

    def test_value_is_read_from_stdin_and_not_shown(self, server: RecordingServer, run: Run):
        ran = run("variable set b --key login --value - --sensitive", stdin="pass\nword\n")
        assert server.requests[0].body["variable_value"] == "pass\nword"
        assert server.requests[0].body["is_sensitive"] is True
        assert "word" not in ran.out + ran.err

    def test_value_that_is_not_utf_8_is_not_sent(self, server: RecordingServer):
        stdin = io.TextIOWrapper(io.BytesIO(b"caf\xe9"), encoding="utf-8")
        err = Stream()
        words = ["variable", "set", "b", "--key", "k", "--value", "-"]
        assert main(words, {"BLDST_API_URL": server.url}, Stream(), err, stdin) == 1
        assert (err.getvalue(), server.requests) == ("bldst: stdin is not UTF-8\n", [])

    def test_value_alone_is_printed(self, server: RecordingServer, run: Run):
        server.default = {"variable_key": "k", "variable_value": "a b", "is_sensitive": True}
        assert run("variable get b k", terminal=True).out == "a b\n"
        assert json.loads(run("variable get b k -o json").out) == server.default

    @pytest.mark.parametrize("answer", [{"variable_value": "******", "is_sensitive": True}, {}, []])
    def test_value_that_may_not_be_read_is_an_error(self, answer: object, server: RecordingServer, run: Run):
        server.default = answer
        ran = run("variable get b k")
        assert (ran.code, ran.out) == (1, "")


def test_closed_pipe_causes_no_traceback(server: RecordingServer, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path):
    """As in `bldst build list | head -1`."""

    class Closed(Stream):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    with (tmp_path / "stdout").open("w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert main(["build", "get", "b"], {"BLDST_API_URL": server.url}, Closed(), Stream(), Stream()) == 1


def test_full_disk_causes_no_traceback(server: RecordingServer, monkeypatch: pytest.MonkeyPatch, tmp_path):
    class Full(Stream):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    err = Stream()
    with (tmp_path / "stdout").open("w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert main(["build", "get", "b"], {"BLDST_API_URL": server.url}, Full(), err, Stream()) == 1
    assert err.getvalue() == "bldst: stdout cannot be written: No space left on device\n"
