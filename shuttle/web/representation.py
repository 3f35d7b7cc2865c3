"""How a build looks from outside: the long and the short form of contract section 5, without secrets."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from shuttle.build import Build
from shuttle.events import instant_text
from shuttle.lifecycle import Ports
from shuttle.lifecycle.plan import Plan
from shuttle.outgoing.userinfo import without_userinfo
from shuttle.store.builds import Artifact, Party
from shuttle.store.progress import StageEvent


def short_form(build: Build) -> dict[str, Any]:
    """What a list shows."""
    return {
        "app_id": build.app_id,
        "build_id": build.build_id,
        "build_uuid": build.build_uuid,
        "api": build.api,
        "pipeline": build.pipeline,
        "state": build.state.value,
        "stage": build.stage.value,
        "building": build.building,
        "status": build.status,
        "reason": build.reason,
        "message": build.message,
        "waiting_for": build.waiting_for,
        "human_readable_info": build.human_readable_info,
        "labels": dict(build.labels),
        "timestamps": {
            name: _instant(getattr(build, name))
            for name in ("accepted_at", "staged_at", "queued_at", "running_at", "finished_at")
        },
    }


def long_form(
    build: Build,
    plan: Plan | None,
    *,
    receivers: Sequence[Party],
    sinks: Sequence[Party],
    artifacts: Sequence[Artifact],
    stages: Sequence[StageEvent],
    ports: Ports,
) -> dict[str, Any]:
    """Everything about one build but its metadata, handed back as recorded; without its key there is no `plan`."""
    log_bytes = build.log_bytes if build.log_bytes is not None else ports.library.size_bytes(build)
    return short_form(build) | {
        "source": {"url": build.source_url, "sha256": build.source.sha256, "bytes": build.source.bytes},
        "destinations": list(build.destinations),
        "arguments": None if plan is None else _arguments(plan),
        "timeout_seconds": build.timeout_seconds,
        "jenkins": _jenkins(build, ports),
        "log": {"bytes": log_bytes, "sha256": build.log_sha256, "complete": build.state.final},
        "stages": stages_form(stages),
        "artifacts": [artifact_form(artifact) for artifact in artifacts],
        "image": build.image,
        "digest": build.digest,
        "receivers": [_party(party) for party in receivers],
        "sinks": [_sink(party, log_bytes, complete=build.state.final) for party in sinks],
    }


def _arguments(plan: Plan) -> dict[str, str | None]:
    secret = set(plan.request.secret_arguments)
    return {name: None if name in secret else value for name, value in plan.request.effective_arguments.items()}


def stages_form(events: Sequence[StageEvent]) -> list[dict[str, Any]]:
    """The stages in the order in which they began; `branch` is null for the main step."""
    stages: dict[tuple[str, str], dict[str, Any]] = {}
    for event in events:
        begun = {"stage": event.stage, "branch": event.branch or None, "began_at": _instant(event.at)}
        stage = stages.setdefault((event.branch, event.stage), begun | {"ended_at": None, "code": None, "status": None})
        if event.event == "end":
            stage |= {"ended_at": _instant(event.at), "code": event.code, "status": event.status}
    return list(stages.values())


def artifact_form(artifact: Artifact) -> dict[str, Any]:
    """One uploaded file."""
    return {
        "name": artifact.name,
        "bytes": artifact.size_bytes,
        "sha256": artifact.sha256,
        "content_type": artifact.content_type,
    }


def _party(party: Party) -> dict[str, Any]:
    return {
        "kind": party.kind,
        "host": party.host,
        "state": party.state,
        "acked_offset": party.acked_offset,
        "lag_bytes": None,
        "attempts": party.attempts,
        "last_error": party.last_error,
        "failing_since": _instant(party.failing_since),
        "failovers": list(party.failovers),
    }


def _sink(party: Party, log_bytes: int, *, complete: bool) -> dict[str, Any]:
    """A sink that works is behind once there is nothing more to come and it still lacks some of it."""
    acked_offset = party.acked_offset or 0
    state = "behind" if party.state == "live" and complete else party.state
    return _party(party) | {"state": state, "lag_bytes": max(log_bytes - acked_offset, 0)}


def _jenkins(build: Build, ports: Ports) -> dict[str, Any]:
    controller = without_userinfo(ports.settings.jenkins_url.get_secret_value())
    path = "/".join(f"job/{quote(part)}" for part in build.job_name.split("/"))
    url = f"{controller}{path}/{build.build_number}/" if build.build_number is not None else None
    return {
        "controller": controller,
        "job": build.job_name,
        "queue_item": build.queue_item,
        "build_number": build.build_number,
        "url": url,
    }


def _instant(at: datetime | None) -> str | None:
    return None if at is None else instant_text(at)
