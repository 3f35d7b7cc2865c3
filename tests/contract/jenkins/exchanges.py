"""The recorded exchanges of a real Jenkins, by their short ids (`C-build-012`)."""

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

RECORDING = Path(__file__).parents[2] / "recordings" / "exchanges.jsonl"
_ID = re.compile(r"[A-Z]-[a-z0-9]+(?:-unpolled)?-[0-9]{3}")


@dataclass(frozen=True)
class Exchange:
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
        """Whose credentials: `token`, `password`, `reader`, `nobody`, or the user:password written in the note."""
        header = self.headers.get("Authorization")
        if header is None:
            return "nobody"
        if "API_TOKEN" in header:
            return "token"
        if "<password>" in self.notes:
            return "password"
        return "reader" if "reader" in self.notes else self.notes.removeprefix("Basic ")


@cache
def exchanges() -> dict[str, Exchange]:
    """All of them, in the order they were recorded."""
    lines = RECORDING.read_text(encoding="utf-8").splitlines()
    return {exchange.id: exchange for exchange in map(_exchange, map(json.loads, lines))}


def _exchange(line: dict[str, Any]) -> Exchange:
    request, response = line["request"], line["response"]
    found = _ID.match(line["name"])
    assert found is not None, line["name"]
    headers = {name.lower(): value for name, value in response["headers"]}
    return Exchange(
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
