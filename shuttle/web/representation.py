"""A build as callers see it, in a long and a short form, without secrets (docs/contract.md, "Reading builds")."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from shuttle.build import Build
from shuttle.clock import Clock
from shuttle.events import instant_text
from shuttle.lifecycle import Services
from shuttle.lifecycle.build_spec import BuildSpec
from shuttle.outgoing.endpoints import EndpointState
from shuttle.outgoing.userinfo import without_userinfo
from shuttle.store.auto_resumes import PlannedResume
from shuttle.store.builds import Artifact, Endpoint
from shuttle.store.progress import StageRow
from shuttle.web.models import (
    ArtifactEntry,
    AutoResumeEntry,
    BuildInJenkins,
    BuildLogSize,
    BuildSource,
    ChildEntry,
    EndpointEntry,
    FailoverEntry,
    LongBuild,
    ShortBuild,
    StageTimes,
    Timestamps,
)


def short_form(build: Build) -> ShortBuild:
    """The form in lists."""
    return ShortBuild(**_short_fields(build))


def _short_fields(build: Build) -> dict[str, Any]:
    return {
        "app_id": build.app_id,
        "build_id": build.build_id,
        "build_uuid": build.build_uuid,
        "api": build.api,
        "pipeline": build.pipeline,
        "state": build.state,
        "stage": build.stage,
        "building": build.building,
        "status": build.status,
        "reason": build.reason,
        "message": build.message,
        "waiting_for": build.waiting_for,
        "human_readable_info": build.human_readable_info,
        "labels": dict(build.labels),
        "timestamps": Timestamps(
            accepted_at=instant_text(build.accepted_at),
            staged_at=_instant(build.staged_at),
            queued_at=_instant(build.queued_at),
            running_at=_instant(build.running_at),
            finished_at=_instant(build.finished_at),
        ),
    }


def _growing_bytes(build: Build, services: Services) -> int:
    """The size of an unfinished build's log; if another replica writes it, the size which that one has recorded."""
    if services.database.alone or build.app_id in services.owned:
        return services.library.size_bytes(build)
    return len(build.preamble.encode()) if build.checkpoint is None else build.checkpoint.log_offset


def long_form(
    build: Build,
    spec: BuildSpec | None,
    *,
    receivers: Sequence[Endpoint],
    sinks: Sequence[Endpoint],
    artifacts: Sequence[Artifact],
    stages: Sequence[StageRow],
    children: Sequence[Build],
    planned: PlannedResume | None,
    services: Services,
) -> LongBuild:
    """Everything about one build except its metadata; `spec` is None if it cannot be decrypted or does not exist."""
    log_bytes = build.log_bytes if build.log_bytes is not None else _growing_bytes(build, services)
    return LongBuild(
        **_short_fields(build),
        source=BuildSource(
            url=build.source_url,
            sha256=build.source.sha256,
            bytes=build.source.bytes,
            commit=build.source.commit,
            branch=build.source.branch,
        ),
        destinations=list(build.destinations),
        arguments=None if spec is None else _arguments(spec),
        timeout_seconds=build.timeout_seconds,
        jenkins=_jenkins(build, services),
        log=BuildLogSize(bytes=log_bytes, sha256=build.log_sha256, complete=build.state.final),
        stages=[stage_times(stage) for stage in stages],
        artifacts=[artifact_form(artifact) for artifact in artifacts],
        image=build.image,
        digest=build.digest,
        receivers=[_endpoint(endpoint) for endpoint in receivers],
        sinks=[_sink(endpoint, log_bytes, complete=build.state.final) for endpoint in sinks],
        children=[_child(child) for child in children],
        auto_resume=auto_resume_form(planned, services.clock),
    )


def auto_resume_form(planned: PlannedResume | None, clock: Clock) -> AutoResumeEntry | None:
    """The plan with the wall clock's time."""
    if planned is None:
        return None
    return AutoResumeEntry(resume_at=instant_text(clock.shown(planned.due_at)), attempts_left=planned.attempts_left)


def _child(child: Build) -> ChildEntry:
    return ChildEntry(
        build_id=child.build_id,
        build_uuid=child.build_uuid,
        platform=child.labels.get("platform"),
        state=child.state,
        reason=child.reason,
        message=child.message,
    )


def _arguments(spec: BuildSpec) -> dict[str, str | None]:
    secret = set(spec.request.secret_arguments)
    return {name: None if name in secret else value for name, value in spec.request.effective_arguments.items()}


def stage_times(stage: StageRow) -> StageTimes:
    """One stage."""
    return StageTimes(
        stage=stage.stage,
        branch=stage.branch or None,
        state=stage.code,
        began_at=_instant(stage.began_at),
        ended_at=_instant(stage.ended_at),
        code=stage.exit_status,
        status=stage.status,
    )


def artifact_form(artifact: Artifact) -> ArtifactEntry:
    """One uploaded file."""
    return ArtifactEntry(
        name=artifact.name, bytes=artifact.size_bytes, sha256=artifact.sha256, content_type=artifact.content_type
    )


def _endpoint(endpoint: Endpoint) -> EndpointEntry:
    return EndpointEntry(
        kind=endpoint.kind,
        host=endpoint.host,
        state=endpoint.state,
        acked_offset=endpoint.acked_offset,
        lag_bytes=None,
        attempts=endpoint.attempts,
        last_error=endpoint.last_error,
        failing_since=_instant(endpoint.failing_since),
        failovers=[FailoverEntry(**failover) for failover in endpoint.failovers],
    )


def _sink(endpoint: Endpoint, log_bytes: int, *, complete: bool) -> EndpointEntry:
    """The sink's entry. A live sink is `behind` if the log is complete and it has not received all of it yet."""
    acked_offset = endpoint.acked_offset or 0
    state = EndpointState.BEHIND if endpoint.state is EndpointState.LIVE and complete else endpoint.state
    return _endpoint(endpoint).model_copy(update={"state": state, "lag_bytes": max(log_bytes - acked_offset, 0)})


def _jenkins(build: Build, services: Services) -> BuildInJenkins:
    listed = services.settings.controllers.get(build.controller)
    path = "/".join(f"job/{quote(part)}" for part in build.job_name.split("/"))
    return BuildInJenkins(
        controller=build.controller or None,
        job=build.job_name,
        queue_item=build.queue_item,
        build_number=build.build_number,
        url=f"{without_userinfo(listed)}{path}/{build.build_number}/" if listed and build.build_number else None,
    )


def _instant(at: datetime | None) -> str | None:
    return None if at is None else instant_text(at)
