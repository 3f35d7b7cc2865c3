"""The environment, ~/.bldst.yaml, and the commands that read and write it."""

import json
from pathlib import Path

import pytest

from bldst.__main__ import main
from tests.unit.bldst.conftest import RecordingServer, Run, Stream

_WITHOUT = {"BLDST_API_URL": "", "BLDST_API_KEY": ""}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / ".bldst.yaml"


def _write(file: Path, text: str, mode: int = 0o600) -> None:
    file.write_bytes(text.encode("latin-1"))
    file.chmod(mode)


@pytest.mark.parametrize(
    ("variables", "stored", "header"),
    [
        ({"BLDST_API_KEY": "k"}, "", ("x-api-key", "k")),
        ({"BUILDSTATE_API_KEY": "k"}, "", ("x-api-key", "k")),
        ({"BLDST_API_KEY": " \n", "BUILDSTATE_API_KEY": "k"}, "api_key: stored", ("x-api-key", "k")),
        ({"BLDST_JWT_TOKEN": "t"}, "", ("authorization", "Bearer t")),
        ({"BLDST_API_KEY": "k", "BLDST_JWT_TOKEN": "t"}, "", ("x-api-key", "k")),
        ({}, "api_key: stored", ("x-api-key", "stored")),
        ({}, "jwt_token: stored", ("authorization", "Bearer stored")),
        ({"BLDST_JWT_TOKEN": "t"}, "api_key: stored", ("authorization", "Bearer t")),
    ],
)
def test_key_is_sent(
    variables: dict[str, str], stored: str, header: tuple[str, str], file: Path, server: RecordingServer, run: Run
):
    _write(file, stored)
    assert run("build get b", **{"BLDST_API_KEY": "", **variables}).err == ""
    [request] = server.requests
    sent = {name: request.headers[name] for name in ("x-api-key", "authorization") if name in request.headers}
    assert sent == dict([header])


def test_without_a_key_nothing_is_sent_in_its_place(server: RecordingServer, run: Run):
    run("health", BLDST_API_KEY="")
    assert not {"x-api-key", "authorization"} & set(server.requests[0].headers)


@pytest.mark.parametrize("key", ["a b", "schlüssel", "a\tb"])
def test_key_that_is_no_header_value_is_refused_without_showing_it(key: str, server: RecordingServer, run: Run):
    ran = run("build get b", BLDST_API_KEY=key)
    assert (ran.code, ran.err) == (1, "bldst: the value of api_key contains characters that no token has\n")
    assert server.requests == []


@pytest.mark.parametrize(
    "text",
    [
        "api_url: URL\n",
        'api_url: "URL"  # of the test\n',
        "# settings\n---\ndefault_platform: null\napi_url: 'URL'\n",
        "api_url:   URL/   # a slash\n",
    ],
)
def test_address_is_read_from_the_file(text: str, file: Path, server: RecordingServer, run: Run):
    _write(file, text.replace("URL", server.url))
    assert run("config get-url", **_WITHOUT).out == server.url + "\n"
    assert run("config get-url", BLDST_API_URL="http://other/").out == "http://other\n", "the environment wins"
    assert run("config get-url", BLDST_API_URL="", BUILDSTATE_API_URL="http://other").out == "http://other\n"


@pytest.mark.parametrize("text", ["'URL' # it's 'ours'", '"URL" # "ours"'])
def test_value_ends_with_its_quote(text: str, file: Path, run: Run):
    _write(file, "api_url: " + text.replace("URL", "http://x"))
    assert run("config get-url", **_WITHOUT).out == "http://x\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("api_url\n", 1),
        ("api_key: secret\xff\n", 1),
        ("\n  - secret\n", 2),
        ("api_key: {secret: 1}\n", 1),
        ("api_key: 'secret\n", 1),
        ('api_key: "\\q secret"\n', 1),
        ("api_key: |\n  secret\n", 1),
        ("\xff\xfe\x00secret", 1),
    ],
)
def test_line_that_is_not_understood_is_named_but_not_shown(text: str, line: int, file: Path, run: Run):
    _write(file, text)
    ran = run("build get b")
    assert ran.code == 0
    assert ran.err.startswith(f"bldst: {file}, line {line}: expected `key: value`; the line is ignored\n")
    assert "secret" not in ran.err


@pytest.mark.parametrize(("text", "warned"), [("api_key: k", True), ("api_url: http://x", False)])
def test_key_that_others_may_read_is_reported(text: str, warned: bool, file: Path, run: Run):
    _write(file, text, mode=0o644)
    assert (f"chmod 600 {file}" in run("build get b").err) is warned


def test_unreadable_and_huge_files_are_ignored(file: Path, run: Run):
    file.mkdir()
    assert run("build get b").err == f"bldst: {file} cannot be read: Is a directory\n"
    file.rmdir()
    _write(file, "#" * 70_000)
    assert run("build get b").err == f"bldst: {file} is larger than 65536 bytes and is ignored\n"


def test_settings_that_were_not_read_are_not_replaced(file: Path, run: Run):
    text = "api_key: k\n" + "#" * 70_000
    _write(file, text)
    ran = run("config set-url http://x", **_WITHOUT)
    assert ran.code == 1
    assert ran.err.endswith(f"bldst: {file} was not read, so it is not changed: mend it, or run bldst config reset\n")
    assert file.read_text() == text
    assert run("config reset", **_WITHOUT).code == 0
    assert file.read_text() == ""


def test_other_lines_and_a_link_to_the_file_are_kept(file: Path, tmp_path: Path, run: Run):
    real = tmp_path / "dotfiles"
    _write(real, "name: M\xfcller\n")
    file.symlink_to(real)
    run("config set-url http://x", **_WITHOUT)
    assert file.is_symlink()
    assert real.read_bytes() == b'name: M\xfcller\napi_url: "http://x"\n'


@pytest.mark.parametrize("words", ["config set-key", "auth set-key"])
def test_key_is_stored_for_its_owner_only(words: str, file: Path, server: RecordingServer, run: Run):
    _write(file, "default_platform: aws\napi_key: old\n", mode=0o644)
    assert run(f"{words} new-key", BLDST_API_KEY="").code == 0
    assert file.read_text() == 'default_platform: aws\napi_key: "new-key"\n'
    assert file.stat().st_mode & 0o777 == 0o600
    run("build get b", BLDST_API_KEY="")
    assert server.requests[0].headers["x-api-key"] == "new-key"
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("key", ["-XyZ0123456789abcdef", "--XyZ0123456789abcdef", "-v0123456789abcdef"])
def test_key_may_begin_with_a_dash(key: str, file: Path, run: Run):
    assert run(f"auth set-key {key}", BLDST_API_KEY="").code == 0
    assert file.read_text() == f'api_key: "{key}"\n'


@pytest.mark.parametrize("words", ["--kye s3cret-key", "s3cret-key another"])
def test_error_of_set_key_does_not_repeat_the_key(words: str, run: Run):
    ran = run(f"auth set-key {words}", BLDST_API_KEY="")
    assert (ran.code, ran.err) == (2, "bldst: auth set-key takes one word\n")


def test_key_is_read_from_stdin(file: Path, run: Run):
    run("auth set-key -", stdin="from-stdin\n", BLDST_API_KEY="")
    assert file.read_text() == 'api_key: "from-stdin"\n'


@pytest.mark.parametrize("stdin", ["", "\n"])
def test_empty_key_is_not_stored(stdin: str, file: Path, run: Run):
    ran = run("auth set-key -", stdin=stdin, BLDST_API_KEY="")
    assert (ran.code, ran.err) == (2, "bldst: no key: stdin is empty\n")
    assert not file.exists()


def test_what_the_environment_has_is_not_stored(file: Path, server: RecordingServer, run: Run):
    for line in (f"config set-url {server.url}", "auth set-key the-key"):
        ran = run(line)
        assert (ran.code, ran.out) == (0, "")
        assert ran.err.endswith("is in the environment already; nothing is stored\n")
    assert not file.exists()
    assert "the environment has another one, which is used instead" in run("auth set-key other").err


def test_settings_are_shown_without_secrets_and_removed(file: Path, run: Run):
    run("config set-url https://shuttle/-/state/", **_WITHOUT)
    run("auth set-key secret", **_WITHOUT)
    assert json.loads(run("config show", **_WITHOUT).out) == {
        "api_url": "https://shuttle/-/state",
        "has_api_key": True,
        "has_jwt_token": False,
        "config_file": str(file),
    }
    run("auth clear-key", **_WITHOUT)
    assert file.read_text() == 'api_url: "https://shuttle/-/state"\n'
    run("config reset", **_WITHOUT)
    assert file.read_text() == ""
    ran = run("config get-url", **_WITHOUT)
    assert (ran.code, ran.out) == (1, "")
    assert (
        ran.err
        == "bldst: the address of the service is not configured: set BLDST_API_URL, or run bldst config set-url\n"
    )


def test_other_file_and_no_home(tmp_path: Path, server: RecordingServer, run: Run):
    other = tmp_path / "other"
    run(f"--config {other} auth set-key k", BLDST_API_KEY="")
    assert other.read_text() == 'api_key: "k"\n'
    err = Stream()
    assert main(["auth", "set-key", "k"], {"BLDST_API_URL": server.url}, Stream(), err, Stream()) == 1
    assert "set HOME, or use --config FILE" in err.getvalue()


def test_file_that_cannot_be_written(tmp_path: Path, run: Run):
    ran = run(f"--config {tmp_path}/missing/file auth set-key k", BLDST_API_KEY="")
    assert (ran.code, ran.err) == (1, f"bldst: {tmp_path}/missing/file cannot be written: No such file or directory\n")


class TestLogin:
    @pytest.mark.parametrize(
        ("line", "stdin"),
        [
            ("auth login --username ci --password 'p w'", ""),
            ("auth login", "ci\np w\n"),
            ("auth login --username ci --password -", "p w\n"),
        ],
    )
    def test_token_is_stored_and_sent(self, line: str, stdin: str, file: Path, server: RecordingServer, run: Run):
        server.says("POST /token", {"access_token": "t-1", "token_type": "bearer"})
        ran = run(line, stdin=stdin, BLDST_API_KEY="")
        assert ran.code == 0
        assert "t-1" not in ran.out + ran.err
        [request] = server.requests
        assert request.raw == b"username=ci&password=p+w"
        assert request.headers["content-type"] == "application/x-www-form-urlencoded"
        run("build get b", BLDST_API_KEY="")
        assert server.requests[1].headers["authorization"] == "Bearer t-1"
        run("auth logout", BLDST_API_KEY="")
        assert file.read_text() == ""

    def test_wrong_password(self, file: Path, server: RecordingServer, run: Run):
        server.says("POST /token", {"detail": "Incorrect username or password"}, 401)
        ran = run("auth login --username ci --password x", BLDST_API_KEY="")
        assert (ran.code, ran.err) == (1, "bldst: Incorrect username or password\n")
        assert not file.exists()


@pytest.mark.parametrize("seconds", ["soon", "0", "-1", "nan", "1e9"])
def test_timeout_must_be_a_number_of_seconds(seconds: str, run: Run):
    ran = run("build get b", BUILDSTATE_TIMEOUT=seconds)
    assert (ran.code, ran.err) == (2, "bldst: BLDST_TIMEOUT must be a number of seconds between 0 and 86400\n")
