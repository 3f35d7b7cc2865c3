"""Messages of bldst for refusals, for servers that misbehave, and for redirects."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bldst.__main__ import main
from bldst.client import ANSWER_LIMIT_BYTES
from tests.support.certificates import loopback_tls
from tests.unit.bldst.conftest import RecordingServer, Run, Stream, http_answer

_GET = "GET /builds/b"


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (
            400,
            {"detail": "Cannot transition a completed or failed build."},
            "Cannot transition a completed or failed build.",
        ),
        (
            401,
            {"detail": "Authentication required."},
            "Authentication required: set BLDST_API_KEY, or run bldst auth set-key",
        ),
        (403, {"detail": "Write permission required"}, "Write permission required"),
        (404, {"detail": "Build not found"}, "Build not found"),
        (409, {"status": "error", "code": "conflict", "message": "Another build."}, "Another build."),
        (
            422,
            {
                "detail": [
                    {"type": "t", "loc": ["body", "state"], "msg": "too large"},
                    {"loc": ["query", "limit"], "msg": "bad"},
                ]
            },
            "state: too large; query.limit: bad",
        ),
        (422, {"detail": [{"msg": "no body"}, "odd", {"loc": 3}]}, "no body; None"),
        (
            404,
            b"<html>not found</html>",
            "HOST answered 404 Some words: is the address of the service right? It ends in /-/state",
        ),
        (502, b"<html>Bad gateway</html>", "HOST answered 502 Some words"),
        (500, {"detail": None}, "HOST answered 500 Some words"),
        (500, [1], "HOST answered 500 Some words"),
        (400, {"detail": "a\x1b[31mred\nline"}, "a [31mred line"),
    ],
)
def test_refusal_is_a_sentence_on_stderr(status: int, body: object, sentence: str, server: RecordingServer, run: Run):
    server.says(_GET, body, status)
    ran = run("build get b")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == f"bldst: {sentence.replace('HOST', f'127.0.0.1:{server.port}')}\n"


def test_busy_service_says_when_to_try_again(server: RecordingServer, run: Run):
    server.says(_GET, {"detail": "Too many requests."}, 503, {"Retry-After": "5"})
    assert run("build get b").err == "bldst: Too many requests; try again in 5 s\n"


_NO_JSON = "did not answer with JSON but with"


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (http_answer(b"<html>Log in</html>", headers={"Content-Type": "text/html"}), f"{_NO_JSON} text/html"),
        (http_answer(b"{}\xff\xfe"), _NO_JSON),
        (http_answer(b"[" * 100_000), _NO_JSON),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{", "closed the connection in the middle of its answer"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{", "closed the connection in the middle"),
        (b"HTTP/1.1 200 OK\r\n\r\n{", _NO_JSON),
        (b"", "gave no answer"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "gave no answer"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", "gave no answer"),
        (http_answer(b" " * (10 * 2**20)), f"is larger than {ANSWER_LIMIT_BYTES // 2**20} MiB"),
    ],
    ids=["page", "not-utf-8", "nested", "cut", "cut-chunk", "cut-without-length", "nothing", "ssh", "headers", "large"],
)
def test_answer_of_something_else_is_an_error(answer: bytes, sentence: str, server: RecordingServer, run: Run):
    server.will(_GET, answer)
    ran = run("build get b")
    assert (ran.code, ran.out) == (1, "")
    assert f"127.0.0.1:{server.port}" in ran.err
    assert sentence in ran.err
    assert len(server.requests) == 1, "a request that was sent is not repeated"


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n{}"],
)
def test_answer_of_unknown_length_is_read(answer: bytes, server: RecordingServer, run: Run):
    server.will(_GET, answer)
    assert run("build get b").out == "{}\n"


def test_fields_that_the_service_ignores_are_named(server: RecordingServer, run: Run):
    server.says("POST /builds/b/states", {}, 201, {"Shuttle-Ignored-Fields": "status"})
    ran = run("build add-state b --state 5 --status x")
    assert ran.err == "bldst: the service ignored: status\nbldst: state 5 is recorded\n"


class TestNoConnection:
    @pytest.mark.parametrize("url", ["http://127.0.0.1:PORT/-/state", "https://127.0.0.1:PORT/-/state"])
    def test_refused_connection_names_the_host(self, url: str, run: Run, monkeypatch: pytest.MonkeyPatch):
        pauses: list[float] = []
        monkeypatch.setattr("bldst.client.time.sleep", pauses.append)
        with socket.create_server(("127.0.0.1", 0)) as unused:
            port = unused.getsockname()[1]
        ran = run("build add-state b --state 5", BLDST_API_URL=url.replace("PORT", str(port)))
        assert ran.code == 1
        assert ran.err == f"bldst: 127.0.0.1:{port} is not reachable: Connection refused\n"
        assert pauses == [0.2], "tried once more"

    @pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"])
    def test_silent_server_is_given_up_after_the_timeout(self, sent: bytes, run: Run):
        with _answering_only(sent) as port:
            ran = run("build get b", BLDST_API_URL=f"http://127.0.0.1:{port}", BUILDSTATE_TIMEOUT="0.1")
        assert (ran.code, ran.err) == (1, f"bldst: 127.0.0.1:{port} did not answer within 0.1 s (BLDST_TIMEOUT)\n")

    def test_server_that_has_a_file_may_take_longer_than_the_timeout(
        self, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr("bldst.client._STORING_SECONDS", 0.5)
        (tmp_path / "disk").write_bytes(b"image")
        began_at = time.monotonic()
        with _answering_only(b"") as port:
            url = f"http://127.0.0.1:{port}"
            ran = run(f"checkpoint b base --state 5 --artifact {tmp_path}/disk", BLDST_API_URL=url, BLDST_TIMEOUT="0.1")
        assert ran.err == f"bldst: 127.0.0.1:{port} did not answer within 0.5 s after the file was sent\n"
        assert time.monotonic() - began_at > 0.5

    def test_server_without_tls(self, server: RecordingServer, run: Run, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("bldst.client.time.sleep", lambda _seconds: None)
        ran = run("build get b", BLDST_API_URL=server.url.replace("http:", "https:"))
        assert ran.code == 1
        assert "is not reachable" in ran.err


@contextlib.contextmanager
def _answering_only(sent: bytes) -> Iterator[int]:
    """A server that accepts one connection, sends this and waits until the client gives up."""

    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.sendall(sent)
            while connection.recv(4096):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        thread.join()


class TestTls:
    @pytest.fixture
    def tls(self, tmp_path: Path) -> Iterator[tuple[int, Path, list[bytes]]]:
        """A TLS server for 127.0.0.1: its port, its certificate's file, the requests that it received."""
        context, certificate = loopback_tls(tmp_path)
        received: list[bytes] = []

        def serve() -> None:
            with contextlib.suppress(OSError):  # ends when the listening socket is closed
                while True:
                    connection, _ = listening.accept()
                    with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as encrypted:
                        received.append(_whole_request(encrypted))
                        encrypted.sendall(http_answer({"id": "b"}))

        with socket.create_server(("127.0.0.1", 0)) as listening:
            thread = threading.Thread(target=serve)
            thread.start()
            yield listening.getsockname()[1], certificate, received
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()

    def test_certificate_of_a_known_authority(self, tls, run: Run, monkeypatch: pytest.MonkeyPatch):
        port, certificate, received = tls
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        ran = run("build get b", BLDST_API_URL=f"https://127.0.0.1:{port}/-/state")
        assert (ran.code, json.loads(ran.out)) == (0, {"id": "b"})
        assert received[0].startswith(b"GET /-/state/builds/b HTTP/1.1\r\n")

    def test_unknown_certificate_gets_no_request(self, tls, run: Run, monkeypatch: pytest.MonkeyPatch):
        port, _, received = tls
        monkeypatch.setattr("bldst.client.time.sleep", lambda _seconds: None)
        ran = run("build get b", BLDST_API_URL=f"https://127.0.0.1:{port}/-/state")
        assert ran.code == 1
        assert "CERTIFICATE_VERIFY_FAILED" in ran.err
        assert received == []

    def test_redirect_to_tls_on_the_same_host_is_followed(
        self, tls, server: RecordingServer, run: Run, monkeypatch: pytest.MonkeyPatch
    ):
        port, certificate, received = tls
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        server.says("POST /builds/b/states", {}, 301, {"Location": f"https://127.0.0.1:{port}/x"})
        assert run("build add-state b --state 5").code == 0
        assert received[0].startswith(b"POST /x HTTP/1.1\r\n")


def _whole_request(connection: socket.socket) -> bytes:
    """The request with its body: a server that closes before it has read everything resets the connection."""
    with connection.makefile("rb") as stream:
        lines = [stream.readline()]
        while lines[-1].strip():
            lines.append(stream.readline())
        sizes = [int(line.split(b":")[1]) for line in lines if line.lower().startswith(b"content-length:")]
        return b"".join(lines) + stream.read(sum(sizes))


class TestRedirects:
    @pytest.mark.parametrize("status", [301, 302, 307, 308])
    def test_same_server_gets_the_same_request(self, status: int, server: RecordingServer, run: Run):
        server.says("POST /builds/b/states", {}, status, {"Location": "/-/state/elsewhere"})
        assert run("build add-state b --state 5").code == 0
        assert [str(request) for request in server.requests] == ["POST /builds/b/states", "POST /elsewhere"]
        assert server.requests[1].body == {"state": 5}
        assert server.requests[1].headers["x-api-key"] == "the-key"

    @pytest.mark.parametrize(
        ("location", "named"),
        [
            ("http://evil.example/x", "redirects to evil.example, which must not get the key"),
            ("//127.0.0.2/x", "redirects to 127.0.0.2, which must not get the key"),
            ("http://127.0.0.1:9/x", "redirects to 127.0.0.1:9, which must not get the key"),
            ("ftp://127.0.0.1/x", "redirects to an address that is no URL"),
            ("http://[", "redirects to an address that is no URL"),
            ("", "which must not get the key"),
        ],
    )
    def test_key_goes_to_no_other_server(self, location: str, named: str, server: RecordingServer, run: Run):
        server.says(_GET, {}, 302, {"Location": location})
        ran = run("build get b")
        assert ran.code == 1
        assert named in ran.err
        assert "the-key" not in ran.err
        assert len(server.requests) == 1

    def test_endless_redirects_end(self, server: RecordingServer, run: Run):
        server.says(_GET, {}, 307, {"Location": "/-/state/builds/b"})
        assert run("build get b").err == f"bldst: 127.0.0.1:{server.port} redirects without end\n"
        assert len(server.requests) == 5


class TestDebug:
    def test_requests_are_shown_without_key_and_query(self, server: RecordingServer, run: Run):
        server.says("GET /builds?status=running", [])
        ran = run("build list --status running", BLDST_DEBUG="true")
        assert ran.err.startswith(f"bldst: GET {server.url}/builds: 200, ")
        assert "the-key" not in ran.err

    @pytest.mark.parametrize("variables", [{"BUILDSTATE_DEBUG": "1"}, {"BLDST_DEBUG": "yes"}])
    def test_synonyms(self, variables: dict[str, str], run: Run):
        assert ": 200, " in run("build get b", **variables).err
        assert ": 200, " in run("build get b --verbose").err
        assert run("build get b", BLDST_DEBUG="false").err == ""


def test_proxy_of_the_environment_is_used_unless_it_is_excluded(server: RecordingServer, run: Run):
    proxy = f"http://user:word@127.0.0.1:{server.port}"
    server.says("GET http://shuttle.example/builds/b", {"id": "b"})
    variables = {"BLDST_API_URL": "http://shuttle.example/-/state", "http_proxy": proxy}
    server.says("GET http://shuttle.example/-/state/builds/b", {"id": "b"})
    assert json.loads(run("build get b", **variables).out) == {"id": "b"}
    assert server.requests[-1].headers["proxy-authorization"] == "Basic dXNlcjp3b3Jk"
    server.requests.clear()
    run("build get b", http_proxy=proxy, no_proxy="localhost, 127.0.0.1")
    (direct,) = server.requests
    assert direct.path == "/-/state/builds/b"
    assert "proxy-authorization" not in direct.headers


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("shuttle/-/state", "the address of the service must be a URL like https://shuttle.example/-/state"),
        ("ftp://shuttle/", "the address of the service must be a URL like https://shuttle.example/-/state"),
        ("http://shuttle:port/", "the address of the service is not a URL"),
        (
            "http://me:secret@shuttle/",
            "the address of the service at shuttle must not contain a password: use BLDST_API_KEY",
        ),
        ("http://shuttle/?token=secret", "the address of the service at shuttle must not have a query"),
    ],
)
def test_wrong_address_is_explained_without_its_secrets(url: str, sentence: str, run: Run):
    for line in ("build get b", f"config set-url {url}", "config get-url"):
        ran = run(line, BLDST_API_URL=url)
        assert (ran.code, ran.out, ran.err) == (1, "", f"bldst: {sentence}\n")


def test_words_that_are_not_utf_8_are_sent_with_replacements(server: RecordingServer):
    environment = {"BLDST_API_URL": server.url}
    words = ["build", "add-state", "b\udcff", "--state", "5", "--status", "caf\udce9"]
    assert main(words, environment, Stream(), Stream(), Stream()) == 0
    assert server.requests[0].path == "/-/state/builds/b%EF%BF%BD/states"
    assert server.requests[0].body == {"state": 5, "status": "caf\ufffd"}


@pytest.mark.parametrize(
    "line",
    ["build report b", "build watch b", "build resume b", "build resume-context b", "variable get b k", "build create"],
)
@pytest.mark.parametrize(
    "data",
    [[], [1], "text", 5, None, {"states": 5, "failures": [1], "children": 1, "variables": [], "status": "failed"}],
)
def test_json_of_another_shape_causes_no_traceback(line: str, data: object, server: RecordingServer, run: Run):
    server.default = data
    assert run(line).code in {0, 1}
