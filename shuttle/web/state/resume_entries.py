"""Shows requests to resume a build."""

from collections.abc import Mapping, Sequence
from typing import Any

from shuttle.build import Api, Build, State
from shuttle.events import instant_text
from shuttle.store.record_jobs import JobRow
from shuttle.store.resume_calls import ResumeCall
from shuttle.web.state.build_forms import number_of
from shuttle.web.state.resume_models import Progress, ResumeEntry

_PROGRESS: Mapping[State, Progress] = {
    State.RECORDED: "triggered",
    State.STAGING: "triggered",
    State.QUEUED: "triggered",
    State.RUNNING: "running",
    State.SUCCEEDED: "completed",
}
_FIELDS = ("resume_to_state", "resume_reason", "requested_by", "request_source", "metadata", "orchestration_config")


def resume_entry(build: Build, jobs: Sequence[JobRow], call: ResumeCall | None) -> ResumeEntry:
    """The request that made `build`; `call` is that of its CI system, if it is a record whose request names a URL."""
    resume: Mapping[str, Any] = (build.record or {}).get("resume", {})
    newest = jobs[-1].fields if jobs else {}
    changed_at = build.finished_at or build.running_at or build.accepted_at
    called_at = None if call is None else call.delivered_at
    triggered_at = called_at if build.api is Api.RECORD else build.running_at or build.accepted_at
    call_error = call.last_error if call is not None and build.state is State.RECORDED else None
    own_number = None if build.build_number is None else str(build.build_number)
    return ResumeEntry(
        **{name: resume.get(name) for name in _FIELDS},
        id=build.build_uuid,
        resume_request_id=build.build_uuid,
        build_id=build.resume_from or "",
        resumed_build_id=build.build_uuid,
        build_number=number_of(build),
        resume_from_state=resume.get("resume_from_state", build.state_code or 0),
        orchestration_job_id=resume.get("orchestration_job_id") or newest.get("job_number") or own_number,
        orchestration_job_url=resume.get("orchestration_job_url") or newest.get("job_url"),
        orchestration_status=_progress(build, resume, is_called=called_at is not None),
        triggered_at=None if triggered_at is None else instant_text(triggered_at),
        completed_at=instant_text(build.finished_at) if build.finished_at else None,
        error_message=resume.get("error_message") or build.message or call_error,
        created_at=instant_text(build.accepted_at),
        updated_at=instant_text(changed_at),
    )


def _progress(build: Build, resume: Mapping[str, Any], *, is_called: bool) -> Progress:
    if build.state is State.RECORDED and build.api is Api.RECORD:
        return "triggered" if is_called or resume.get("orchestration_status") == "triggered" else "pending"
    return _PROGRESS.get(build.state, "failed")
