"""A fake shuttle whose responses each test sets, and a way to run commands against it."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.support.command_line import exit_code_of


@dataclass
class ReceivedRequest:
    """One request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    authorization: str | None
    body: Any


Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class FakeShuttle:
    """Responses are queued per path; the last one of a path is repeated."""

    server: TestServer = field(init=False)
    asked: list[ReceivedRequest] = field(default_factory=list)
    _answers: dict[tuple[str, str], list[Answer]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return str(self.server.make_url("/")).rstrip("/")

    def will(self, method: str, path: str, answer: Answer) -> None:
        self._answers.setdefault((method, path), []).append(answer)

    def says(self, method: str, path: str, body: Any, *, status: int = 200, **headers: str) -> None:
        named = {name.replace("_", "-"): text for name, text in headers.items()}

        async def answer(_request: web.Request) -> web.StreamResponse:
            return web.json_response(body, status=status, headers=named)

        self.will(method, path, answer)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        self.asked.append(
            ReceivedRequest(
                request.method,
                request.rel_url.raw_path,
                dict(request.query),
                request.headers.get("Authorization"),
                json.loads(text) if text else None,
            )
        )
        answers = self._answers[request.method, request.rel_url.raw_path]
        return await (answers.pop(0) if len(answers) > 1 else answers[0])(request)


@pytest.fixture
async def service(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeShuttle]:
    fake = FakeShuttle()
    app = web.Application(client_max_size=2**27)
    app.router.add_route("*", "/{path:.*}", fake.answer)
    fake.server = TestServer(app)
    await fake.server.start_server()
    monkeypatch.setenv("SHUTTLE_URL", fake.url)
    monkeypatch.delenv("SHUTTLE_TOKEN", raising=False)
    yield fake
    await fake.server.close()


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


Run = Callable[..., Awaitable[Ran]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `shuttle …` in a thread, while the server runs in the event loop."""

    async def ran(*arguments: str) -> Ran:
        code = await exit_code_of(*arguments)
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return ran


@pytest.fixture
def final_build() -> dict[str, Any]:
    """The response to GET for a build that succeeded."""
    return {
        "app_id": "shop",
        "build_id": "7",
        "build_uuid": "6b2d3f0e-8f8e-4a52-9d0b-1f1b1a6a2c11",
        "pipeline": "script",
        "state": "succeeded",
        "reason": None,
        "message": None,
        "waiting_for": None,
        "timestamps": {
            "accepted_at": "2030-01-01T10:00:00.000Z",
            "running_at": "2030-01-01T10:00:01.000Z",
            "finished_at": "2030-01-01T10:00:02.000Z",
        },
        "jenkins": {"url": "http://127.0.0.1:8080/job/shop-1/7/"},
        "image": None,
        "digest": None,
        "log": {"bytes": 11, "sha256": "00", "complete": True},
        "artifacts": [{"name": "shop.tar", "bytes": 3}],
    }
