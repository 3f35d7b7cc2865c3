"""A build, its states and its failures in the form that `bldst` expects."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any
from urllib.parse import quote

from pydantic import TypeAdapter

from shuttle.build import Build, State, project_id_of
from shuttle.events import instant_text
from shuttle.store.projects import Project
from shuttle.store.record_failures import FailureRow
from shuttle.store.record_states import StateRow
from shuttle.store.references import UNSPECIFIED, Kind, Reference
from shuttle.web.models import AutoResumeEntry
from shuttle.web.state.build_models import BuildEntry, ChildBuild, ProjectOfBuild
from shuttle.web.state.failure_models import Failure
from shuttle.web.state.reference_models import image_type_entry, os_version_entry, platform_entry, short
from shuttle.web.state.row_ids import id_in_build
from shuttle.web.state.state_models import STATE_DETAILS, BuildState

# For these three labels an answer about a build has the whole entry, such as that of its platform.
SHOWN_LABELS = (Kind.PLATFORM, Kind.OS_VERSION, Kind.IMAGE_TYPE)

_STATES = TypeAdapter(list[BuildState])
_NO_DETAILS = dict.fromkeys(STATE_DETAILS)
_STATUS = {State.RUNNING: "running", State.SUCCEEDED: "completed"}


def status_of(build: Build) -> str:
    """The build's state in the words of `bldst`: pending, running, completed or failed."""
    return _STATUS.get(build.state, "failed" if build.state.final else "pending")


def number_of(build: Build) -> str:
    """The number as its creator gave it; in the build id, characters that an id cannot have are escaped."""
    return str((build.record or {}).get("build_number", build.build_id))


def labels_of(build: Build) -> list[tuple[Kind, str]]:
    """The labels for which an answer has whole entries."""
    return [(kind, build.labels.get(kind.value) or UNSPECIFIED) for kind in SHOWN_LABELS]


class SharedEntries:
    """The entries that the builds of an answer share; each is made once."""

    def __init__(
        self, labels: Mapping[tuple[Kind, str], Reference], projects: Mapping[str, Project], base_url: str
    ) -> None:
        """`labels` by kind and name, `projects` by their names; `base_url` is that of the builds."""
        self.platform = cache(lambda name: platform_entry(labels[Kind.PLATFORM, name]))
        self.os_version = cache(lambda name: os_version_entry(labels[Kind.OS_VERSION, name]))
        self.image_type = cache(lambda name: image_type_entry(labels[Kind.IMAGE_TYPE, name]))
        self.project = cache(lambda app_id: _project(projects[app_id]))
        self.base_url = base_url


def build_entry(
    build: Build,
    shared: SharedEntries,
    *,
    states: Sequence[StateRow] = (),
    failures: Sequence[FailureRow] = (),
    children: Sequence[Build] = (),
    auto_resume: AutoResumeEntry | None = None,
) -> BuildEntry:
    """The build for display."""
    record = build.record or {}
    (_, platform_name), (_, version_name), (_, type_name) = labels_of(build)
    platform, os_version = shared.platform(platform_name), shared.os_version(version_name)
    image_type = shared.image_type(type_name)
    ids = f"{quote(build.app_id, safe='')}/{quote(build.build_id, safe='')}"
    began_at, changed_at = build.running_at or build.accepted_at, build.finished_at or build.running_at
    return BuildEntry(
        id=build.build_uuid,
        build_id=build.build_uuid,
        build_number=short(number_of(build)),
        name=str(record.get("name") or number_of(build)),
        app_id=build.app_id,
        url=f"{shared.base_url}/{ids}",
        project_id=project_id_of(build.app_id),
        platform_id=platform.id,
        os_version_id=os_version.id,
        image_type_id=image_type.id,
        created_by=short(str(record.get("created_by") or "shuttle")),
        concourse_pipeline_url=record.get("concourse_pipeline_url"),
        concourse_job_name=record.get("concourse_job_name"),
        current_state=build.state_code or 0,
        status=status_of(build),
        reason=build.reason,
        message=build.message,
        start_time=instant_text(began_at),
        end_time=_instant(build.finished_at),
        duration_seconds=_seconds(began_at, build.finished_at),
        ami_id=record.get("ami_id"),
        image_id=record.get("image_id") or build.image,
        packer_manifest=record.get("packer_manifest"),
        created_at=instant_text(build.accepted_at),
        updated_at=instant_text(changed_at or build.accepted_at),
        description=record.get("description") or build.human_readable_info,
        commit_hash=record.get("commit_hash") or build.source.commit,
        metadata=json.loads(build.metadata_json),
        labels=dict(build.labels),
        parent_id=build.parent_uuid,
        resume_from=build.resume_from,
        platform=platform,
        os_version=os_version,
        image_type=image_type,
        project=shared.project(build.app_id),
        states=state_entries(build.build_uuid, states),
        failures=[failure_entry(build, row) for row in failures],
        children=[_child(child) for child in children],
        auto_resume=auto_resume,
    )


def _project(project: Project) -> ProjectOfBuild:
    return ProjectOfBuild(
        id=project.project_id,
        name=short(project.app_id),
        description=project.description,
        parent_project_id=project.parent_id,
        is_active=project.deactivated_at is None,
        created_at=instant_text(project.created_at),
        updated_at=instant_text(project.updated_at),
    )


def _child(child: Build) -> ChildBuild:
    return ChildBuild(
        id=child.build_uuid,
        build_number=number_of(child),
        name=str((child.record or {}).get("name") or number_of(child)),
        status=status_of(child),
        reason=child.reason,
        current_state=child.state_code or 0,
        start_time=instant_text(child.running_at or child.accepted_at),
        end_time=_instant(child.finished_at),
        image_id=(child.record or {}).get("image_id") or child.image,
    )


def state_entries(build_uuid: str, rows: Sequence[StateRow]) -> list[BuildState]:
    """States for display: each has a code, a status and a start.

    A build may have 10,000. Validated together they take half of the time of one by one. A state begins when the one
    before it ends, so each text of an instant is made once.
    """
    text = cache(instant_text)
    return _STATES.validate_python([_state_fields(build_uuid, row, text) for row in rows])


def _state_fields(build_uuid: str, row: StateRow, text: Callable[[datetime], str]) -> dict[str, Any]:
    began_at, details = text(row.began_at), row.details
    return {
        "id": id_in_build(build_uuid, f"state {row.position}"),
        "build_id": build_uuid,
        "state": row.code or 0,
        "status": row.status or ("completed" if row.ended_at is not None else "running"),
        "stage": row.stage,
        "branch": row.branch or None,
        "message": row.message,
        "start_time": began_at,
        "end_time": None if row.ended_at is None else text(row.ended_at),
        "duration_seconds": _seconds(row.began_at, row.ended_at),
        **(_NO_DETAILS if details is None else {name: details.get(name) for name in STATE_DETAILS}),
        "retry_count": 0 if details is None else details.get("retry_count") or 0,
        "created_at": began_at,
    }


def failure_entry(build: Build, row: FailureRow) -> Failure:
    """A failure for display."""
    return Failure(
        id=id_in_build(build.build_uuid, f"failure {row.position}"),
        build_id=build.build_uuid,
        state=row.state_code or 0,
        failure_type=row.kind,
        error_message=row.message,
        error_details=None if row.details is None else dict(row.details),
        component=row.component,
        retryable=row.retryable,
        retry_attempt=row.retry_attempt,
        resolved=row.resolved_at is not None,
        resolution_notes=row.resolution_notes,
        resolved_at=_instant(row.resolved_at),
        created_at=instant_text(row.created_at),
    )


def _seconds(began_at: datetime, ended_at: datetime | None) -> int | None:
    return None if ended_at is None else max(0, int((ended_at - began_at).total_seconds()))


def _instant(at: datetime | None) -> str | None:
    return None if at is None else instant_text(at)
