"""Records examples: calls to a running service and the requests that it sends, as text that is the same in every run.

Host names replace the addresses of this machine. They have the same length, so that every size and offset in an example
is correct.
"""

import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from tests.support.answer import Answer
from tests.support.described import assert_status_described
from tests.support.inprocess import Shuttle
from tests.support.receivers import Exchange

# Headers that differ from run to run and say nothing about the service.
_LEFT_OUT = frozenset({"date", "server", "host", "accept", "accept-encoding", "user-agent", "connection"})
_VARYING = {"webhook-id": "…", "webhook-timestamp": "…"}
_OF_THE_BODY = frozenset({"Content-Length", "Etag", "Last-Modified"})
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
# Of a few calls: they may begin before a second's end.
_DURATION = re.compile(r'("duration_seconds": ?)\d\b')
_LONGEST_LINE = 200


class Recorder:
    """Collects examples by name; `names` maps texts of this run to those that the examples show."""

    def __init__(self, shuttle: Shuttle, *, indents_long_json: bool = False) -> None:
        self.shuttle = shuttle
        self.names = {f"127.0.0.1:{shuttle.port}": "api.example.com"}
        self._indents_long_json = indents_long_json
        self._texts: dict[str, str] = {}

    @property
    def examples(self) -> dict[str, str]:
        """Every example so far, with the texts of `names` replaced."""
        return {name: self._named(text) for name, text in self._texts.items()}

    async def call(
        self,
        name: str,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        show_body: bool = True,
        show_answer: str = "",
    ) -> Answer:
        """Make a call and record it with its answer; bytes are sent unchanged, other bodies as JSON.

        `show_answer` replaces a body that differs from run to run.
        """
        headers = dict(headers or {})
        sent: dict[str, Any] = {}
        if isinstance(body, bytes):
            sent["data"] = body
        elif body is not None:
            headers["Content-Type"] = "application/json"
            sent["data"] = json.dumps(body, indent=2)
        answer = await self.shuttle.ask(method, path, headers=headers, **sent)
        shown_body = sent.get("data", "") if show_body else ""
        request = _message(f"{method} {path} HTTP/1.1", headers, _text(shown_body))
        self._texts[name] = f"{request}\n{self._answer(answer, show_answer)}"
        return answer

    def keep(self, name: str, text: str) -> None:
        """Record a text as an example."""
        self._texts[name] = text

    def keep_request(self, name: str, exchange: Exchange) -> None:
        """Record a request that a receiver got."""
        start = f"{exchange.method} {exchange.target} HTTP/1.1"
        body = bytes(exchange.body).decode()
        if exchange.headers.get("Content-Type") == "application/json":
            assert_status_described(bytes(exchange.body))
        self._texts[name] = _message(start, exchange.headers, self._indented(body))

    def _answer(self, answer: Answer, shown: str) -> str:
        headers, body = dict(answer.headers), shown
        if shown:
            headers = {name: "…" if name in _OF_THE_BODY else value for name, value in headers.items()}
        elif headers.get("Content-Type", "").startswith(("text/", "application/json")):
            body = self._indented(answer.body.decode())
        elif answer.body:
            body = f"({len(answer.body)} bytes)"
        return _message(f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}", headers, body)

    def _indented(self, body: str) -> str:
        if not self._indents_long_json or len(body) <= _LONGEST_LINE or body[0] not in "{[":
            return body
        return json.dumps(json.loads(body), indent=2)

    def _named(self, text: str) -> str:
        for known, shown in self.names.items():
            text = text.replace(known, shown)
        return _DURATION.sub(r"\g<1>0", _INSTANT.sub("2030-01-01T10:00:00.000Z", text))


def _text(body: str | bytes) -> str:
    return body.decode() if isinstance(body, bytes) else body


def _message(start: str, headers: Mapping[str, str], body: str) -> str:
    lines = [
        f"{name}: {_VARYING.get(name.lower(), value)}"
        for name, value in headers.items()
        if name.lower() not in _LEFT_OUT
    ]
    end = f"\n{body}" if body else ""
    return "\n".join([start, *lines]) + "\n" + end + ("\n" if body and not body.endswith("\n") else "")
