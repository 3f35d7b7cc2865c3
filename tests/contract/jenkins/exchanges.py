"""The recorded exchanges with two real Jenkins, by generation and short id (`C-build-012`)."""

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

RECORDINGS = Path(__file__).parents[2] / "recordings"
FILES = {"2.263": "exchanges.jsonl", "2.568": "exchanges-2568.jsonl"}
_ID = re.compile(r"[A-Z]-[a-z0-9]+(?:-[a-z]+)?-[0-9]{3}")
# The newer recording has this in the place of credentials: `Basic <user:kind of secret>`.
_WHOSE = re.compile(r"<([a-z-]+):([A-Z_]+)>")


@dataclass(frozen=True)
class Exchange:
    generation: str
    id: str
    name: str
    notes: str
    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: str
    status: int
    answer_headers: dict[str, str]
    answer_body: str
    answer_bytes: int

    @property
    def authorization(self) -> str:
        """The credentials: `token`, `password`, `reader`, `nobody`, or user:password."""
        header = self.headers.get("Authorization")
        if header is None:
            return "nobody"
        if self.generation == "2.568":
            found = _WHOSE.search(header)
            assert found is not None, header
            user, secret = found.groups()
            by_token = {"shuttle": "token"}.get(user, user)
            return {"API_TOKEN": by_token, "PASSWORD": "password", "WRONG": f"{user}:wrong"}[secret]
        if "API_TOKEN" in header:
            return "token"
        if "<password>" in self.notes:
            return "password"
        return "reader" if "reader" in self.notes else self.notes.removeprefix("Basic ")


@cache
def exchanges(generation: str = "2.263") -> dict[str, Exchange]:
    """All exchanges, in the order of the recording."""
    # The newer recording has addresses without the port.
    text = (RECORDINGS / FILES[generation]).read_text(encoding="utf-8").replace("127.0.0.1:PORT", "127.0.0.1:18080")
    found = [_exchange(generation, json.loads(line)) for line in text.splitlines()]
    return {exchange.id: exchange for exchange in found}


def _exchange(generation: str, line: dict[str, Any]) -> Exchange:
    request, response = line["request"], line["response"]
    found = _ID.match(line["name"])
    assert found is not None, line["name"]
    headers = {name.lower(): value for name, value in response["headers"]}
    return Exchange(
        generation,
        found[0],
        line["name"],
        " ".join(line["notes"]),
        request["method"],
        request["path"],
        request["query"],
        request["headers"],
        request["body"] or "",
        response["status"],
        headers,
        response["body"] or "",
        response["body_bytes"],
    )
