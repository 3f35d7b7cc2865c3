"""The bodies of status events."""

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone

from shuttle.build import Build, State, Status
from shuttle.events import instant_text, status_body

AT = datetime(2026, 11, 20, 12, 0, 0, 123456, UTC)
BUILD = Build(
    build_uuid="u", app_id="my app", build_id="ä/1", accepted_at=AT, deadline_at=AT, metadata_json='{"b":1.50,"a":[]}'
)
FIRST_FOUR = ["id", "type", "building", "status"]
ALWAYS = [*FIRST_FOUR, "app_id", "build_id", "stage", "reason", "message", "at", "sequence", "system"]


@dataclass(frozen=True)
class Artifact:
    name: str
    size_bytes: int
    sha256: str


def test_first_event_has_all_common_fields():
    body = status_body(BUILD, status=Status.QUEUED, building=False, at=AT, sequence=1, artifacts=None)
    event = json.loads(body)
    assert list(event) == ALWAYS
    assert event == {
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


def test_final_event_has_the_log_and_the_results():
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
    artifacts = [Artifact("dist/a b", 3, "cd")]
    event = json.loads(status_body(ended, status=Status.FAILED, building=False, at=AT, sequence=3, artifacts=artifacts))
    assert list(event) == [*ALWAYS, "log_sha256", "log_bytes", "image", "digest", "artifacts"]
    assert (event["id"], event["stage"], event["reason"], event["message"]) == (
        *(None, "build", "build_failed", "The build failed."),
    )
    assert (event["log_sha256"], event["log_bytes"], event["image"], event["digest"]) == ("ab", 12, "r/app:1", None)
    assert event["artifacts"] == [{"name": "dist/a b", "bytes": 3, "sha256": "cd"}]


def test_metadata_is_returned_unchanged():
    odd = replace(BUILD, metadata_json='["\\ud800",12345678901234567890,1e308]')
    event = json.loads(status_body(odd, status=Status.PENDING, building=True, at=AT, sequence=2, artifacts=None))
    assert event["id"] == ["\ud800", 12345678901234567890, 1e308]


def test_instants_are_written_in_utc():
    assert instant_text(datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=2)))) == "2025-12-31T23:00:00.000Z"
