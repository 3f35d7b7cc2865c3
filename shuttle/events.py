"""The bodies of status events. A body is recorded with its event and sent unchanged by every attempt."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from shuttle.build import Api, Build, Status

# The name of the only event that is not a status: the call of a CI system that is to resume a record (docs/state.md).
RESUME_EVENT: Literal["resume"] = "resume"
# The older API's words for statuses; a status that is not listed has the same word there.
LEGACY_STATUSES = {Status.QUEUED: Status.PENDING, Status.TIMEDOUT: Status.FAILED}


class Artifact(Protocol):
    """A file that the build uploaded."""

    @property
    def name(self) -> str:
        """Its name, unique in the build."""

    @property
    def size_bytes(self) -> int:
        """Its size."""

    @property
    def sha256(self) -> str:
        """The SHA-256 of its bytes, in lower-case hex."""


def status_body(
    build: Build,
    *,
    status: Status,
    building: bool,
    at: datetime,
    sequence: int,
    artifacts: Sequence[Artifact] | None,
) -> bytes:
    """The JSON of a status event in ASCII, with the keys in the order of docs/contract.md, "Statuses".

    `build` is the row after the transition, `at` the instant of the event. `artifacts` is None except for the final
    event; only that one has the facts about the log and the results. The metadata is inserted as recorded, so that its
    numbers are not reformatted.
    """
    fields: dict[str, Any] = {
        "type": "build system",
        "building": building,
        "status": status,
        "app_id": build.app_id,
        "build_id": build.build_id,
        "stage": build.stage,
        "reason": build.reason,
        "message": build.message,
        "at": instant_text(at),
        "sequence": sequence,
        "system": "jenkins",
    }
    if artifacts is not None:
        fields |= {
            "log_sha256": build.log_sha256,
            "log_bytes": build.log_bytes,
            "image": build.image,
            "digest": build.digest,
            "artifacts": [
                {"name": artifact.name, "bytes": artifact.size_bytes, "sha256": artifact.sha256}
                for artifact in artifacts
            ],
        }
    rest = json.dumps(fields, separators=(",", ":"))
    return f'{{"id":{build.metadata_json},{rest[1:]}'.encode()


def event_body(
    build: Build, *, status: Status, building: bool, at: datetime, sequence: int, artifacts: Sequence[Artifact] | None
) -> bytes:
    """The JSON of a status event in the form of the build's API; see `status_body`."""
    if build.api is Api.LEGACY:
        return legacy_status_body(build, status=status, building=building)
    return status_body(build, status=status, building=building, at=at, sequence=sequence, artifacts=artifacts)


def legacy_status_body(build: Build, *, status: Status, building: bool) -> bytes:
    """The body of the older API's callback (docs/contract.md, "The older API"); `id` is the caller's build number.

    Its clients' database allows only three statuses, so a stop or a timeout is a failure with a reason.
    """
    fields: dict[str, Any] = {"type": "jenkins", "building": building, "status": LEGACY_STATUSES.get(status, status)}
    if build.reason is not None:
        fields["reason"] = build.reason
    rest = json.dumps(fields, separators=(",", ":"))
    return f'{{"id":{build.metadata_json},{rest[1:]}'.encode()


def instant_text(instant: datetime) -> str:
    """RFC 3339 in UTC with milliseconds, like `2026-11-20T12:00:00.000Z`."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
