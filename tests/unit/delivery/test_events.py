"""The bodies that receivers get."""

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone

from shuttle.build import Build, State
from shuttle.events import instant_text, status_body

AT = datetime(2026, 11, 20, 12, 0, 0, 123456, UTC)
BUILD = Build(
    build_uuid="u", app_id="my app", build_id="ä/1", accepted_at=AT, deadline_at=AT, metadata_json='{"b":1.50,"a":[]}'
)
FIRST_FOUR = ["id", "type", "building", "status"]
ALWAYS = [*FIRST_FOUR, "app_id", "build_id", "stage", "reason", "message", "at", "sequence", "system"]


@dataclass(frozen=True)
class Left:
    name: str
    size_bytes: int
    sha256: str


def test_the_first_event():
    body = status_body(BUILD, status="queued", building=False, at=AT, sequence=1, artifacts=None)
    told = json.loads(body)
    assert list(told) == ALWAYS
    assert told == {
        "id": {"b": 1.5, "a": []},
        "type": "build system",
        "building": False,
        "status": "queued",
        "app_id": "my app",
        "build_id": "ä/1",
        "stage": "accept",
        "reason": None,
        "message": None,
        "at": "2026-11-20T12:00:00.123Z",
        "sequence": 1,
        "system": "jenkins",
    }
    assert body.startswith(b'{"id":{"b":1.50,"a":[]},"type":"build system","building":false,"status":"queued",')


def test_the_final_event_tells_of_the_log_and_the_results():
    ended = replace(
        BUILD,
        state=State.FAILED,
        reason="build_failed",
        message="The build failed.",
        running_at=AT,
        log_sha256="ab",
        log_bytes=12,
        image="r/app:1",
        metadata_json="null",
    )
    left = [Left("dist/a b", 3, "cd")]
    told = json.loads(status_body(ended, status="failed", building=False, at=AT, sequence=3, artifacts=left))
    assert list(told) == [*ALWAYS, "log_sha256", "log_bytes", "image", "digest", "artifacts"]
    assert (told["id"], told["stage"], told["reason"], told["message"]) == (
        *(None, "build", "build_failed", "The build failed."),
    )
    assert (told["log_sha256"], told["log_bytes"], told["image"], told["digest"]) == ("ab", 12, "r/app:1", None)
    assert told["artifacts"] == [{"name": "dist/a b", "bytes": 3, "sha256": "cd"}]


def test_odd_metadata_comes_back_as_it_was():
    odd = replace(BUILD, metadata_json='["\\ud800",12345678901234567890,1e308]')
    told = json.loads(status_body(odd, status="pending", building=True, at=AT, sequence=2, artifacts=None))
    assert told["id"] == ["\ud800", 12345678901234567890, 1e308]


def test_instants_are_utc():
    assert instant_text(datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=2)))) == "2025-12-31T23:00:00.000Z"
