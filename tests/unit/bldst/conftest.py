"""A server that records requests and sends the answers that a test sets, and a way to run `bldst` against it."""

import io
import json
import shlex
import socketserver
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bldst.__main__ import main


@dataclass
class ReceivedRequest:
    method: str
    path: str
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw) if self.raw else None

    def __str__(self) -> str:
        return f"{self.method} {self.path.removeprefix('/-/state')}"


def http_answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"Content-Type": "application/json", "Content-Length": str(len(content)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Some words\r\n{head}\r\n".encode() + content


@dataclass
class RecordingServer:
    """Answers are queued per request line without `/-/state`; the last one is repeated. Others get `default`."""

    port: int
    requests: list[ReceivedRequest] = field(default_factory=list)
    answers: dict[str, list[bytes]] = field(default_factory=dict)
    default: Any = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/-/state"

    def will(self, request: str, *answers: bytes) -> None:
        self.answers[request] = list(answers)

    def says(self, request: str, body: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.will(request, http_answer(body, status, headers))

    def answer(self, request: ReceivedRequest) -> bytes:
        self.requests.append(request)
        queued = self.answers.get(str(request))
        if not queued:
            return http_answer(self.default)
        return queued.pop(0) if len(queued) > 1 else queued[0]


@pytest.fixture(scope="module")
def listening() -> Iterator[RecordingServer]:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            first = self.rfile.readline().decode().split()
            headers = {}
            while line := self.rfile.readline().decode("latin-1").strip():
                name, _, value = line.partition(": ")
                headers[name.lower()] = value
            raw = self.rfile.read(int(headers.get("content-length", "0")))
            self.wfile.write(recorder.answer(ReceivedRequest(first[0], first[1], headers, raw)))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        recorder = RecordingServer(server.server_address[1])
        thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01))
        thread.start()
        yield recorder
        server.shutdown()
        thread.join()


@pytest.fixture
def server(listening: RecordingServer) -> RecordingServer:
    listening.requests.clear()
    listening.answers.clear()
    listening.default = {}
    return listening


class Stream(io.StringIO):
    """A stream that may be a terminal."""

    encoding = "utf-8"

    def __init__(self, text: str = "", *, terminal: bool = False) -> None:
        super().__init__(text)
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def run(server: RecordingServer, tmp_path: Path) -> Run:
    """Run a command line, as a shell splits it. Keyword arguments are variables of the environment."""

    def ran(line: str, *, stdin: str = "", terminal: bool = False, **variables: str) -> Ran:
        environment = {"HOME": str(tmp_path), "BLDST_API_URL": server.url, "BLDST_API_KEY": "the-key", **variables}
        out, err = Stream(terminal=terminal), Stream()
        code = main(shlex.split(line), environment, out, err, Stream(stdin, terminal=terminal))
        return Ran(code, out.getvalue(), err.getvalue())

    return ran
