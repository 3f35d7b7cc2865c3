"""Recorded answers of real Jenkins servers: 2.263.4 and 2.568.1."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from shuttle.jenkins.session import JenkinsResponse

RECORDINGS = Path(__file__).parents[2] / "recordings"


@cache
def _responses(file: str) -> dict[str, Any]:
    exchanges = map(json.loads, (RECORDINGS / file).read_text(encoding="utf-8").splitlines())
    return {exchange["name"]: exchange["response"] for exchange in exchanges}


def _answer(response: Any) -> JenkinsResponse:
    return JenkinsResponse(response["status"], dict(response["headers"]), response["body"].encode())


def recorded(name: str) -> JenkinsResponse:
    """An answer of Jenkins 2.263.4."""
    return _answer(_responses("exchanges.jsonl")[name])


def recorded_2568(name: str) -> JenkinsResponse:
    """An answer of Jenkins 2.568.1."""
    return _answer(_responses("exchanges-2568.jsonl")[name])
