"""Resuming a build: what its successor starts from, and the records that resume records."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import sqlalchemy as sa

from shuttle.build import Build, State, project_id_of
from shuttle.errors import ConflictError
from shuttle.outgoing.endpoints import EndpointKind, PayloadFormat
from shuttle.request import extended_id
from shuttle.store.builds import find_builds, lock_build
from shuttle.store.left_behind import LeftArtifact, artifacts_left, line_of, variables_left
from shuttle.store.new_build import NewEndpoint
from shuttle.store.record_artifacts import ArtifactRow
from shuttle.store.record_failures import failures_of
from shuttle.store.record_states import StateRow, states_of
from shuttle.store.record_variables import VariableRow
from shuttle.store.records import NewRecord, create_record
from shuttle.store.references import Kind
from shuttle.store.resume_calls import NewCall, record_call
from shuttle.store.resume_lines import lock_line, unfinished_successor
from shuttle.store.state_codes import codes_of_app
from shuttle.store.tables import builds, receivers, reference
from shuttle.store.tx import Tx

_LAST_CODE = 999
_SKIP = "skip_to_next"


@dataclass(frozen=True, slots=True)
class ResumeContext:
    """What a successor starts from.

    `config` is the project's resumable state for the code that was requested or has failed; None = there is none.
    `demands` are `config` and that of the code at which the successor begins, as far as there are any.
    """

    current_state: int
    last_successful_state: int
    failed_state: int | None
    resume_from_state: int
    artifacts: list[LeftArtifact]
    variables: list[VariableRow]
    config: Mapping[str, Any] | None
    demands: list[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewResume:
    """A request to resume a record. `build_id` None = `<old>-r1`, `-r2` and so on.

    `number` is `build_id` as the caller wrote it. `state_code` None = the state that failed. `fields` has the fields of
    the request that are recorded. `call` asks the CI system to resume the record.
    """

    build_uuid: str
    build_id: str | None
    number: str | None
    state_code: int | None
    fields: Mapping[str, Any]
    request_fingerprint: str
    same_request: Callable[[str], bool] = field(repr=False)
    call: NewCall | None = None


def resume_context(tx: Tx, build: Build, state_code: int | None = None) -> ResumeContext:
    """What a build that resumes this one starts from; `state_code` None = at the state that failed."""
    failed = _failed_state(tx, build)
    current = build.state_code or 0
    wanted = state_code if state_code is not None else current if failed is None else failed
    config = _config(tx, build.app_id, wanted)
    demands = [] if config is None else [config]
    if config is not None and config.get("resume_strategy") == _SKIP:
        wanted = _next_code(tx, build.app_id, wanted)
        of_next = _config(tx, build.app_id, wanted)
        demands += [] if of_next is None else [of_next]
    line = line_of(tx, build)
    return ResumeContext(
        current_state=current,
        last_successful_state=max(_last_successful(states_of(tx, each.build_uuid), failed) for each in line),
        failed_state=failed,
        resume_from_state=wanted,
        artifacts=artifacts_left(tx, line),
        variables=variables_left(tx, line),
        config=config,
        demands=demands,
    )


def _failed_state(tx: Tx, build: Build) -> int | None:
    failures = failures_of(tx, build.build_uuid)
    if failures:
        return failures[-1].state_code or 0
    return build.state_code or 0 if build.state.final and build.state is not State.SUCCEEDED else None


def _last_successful(rows: list[StateRow], failed: int | None) -> int:
    """The highest code below the failed one that another state followed, or that was reported as completed."""
    coded = [row for row in rows if row.code is not None]
    left = [row.code or 0 for row in coded[:-1]]
    completed = [row.code or 0 for row in coded if (row.status or "").strip().lower() in {"completed", "succeeded"}]
    return max([code for code in (*left, *completed) if failed is None or code < failed], default=0)


def _config(tx: Tx, app_id: str, code: int) -> Mapping[str, Any] | None:
    of_project = (reference.c.kind == Kind.RESUMABLE_STATE, reference.c.scope == project_id_of(app_id))
    query = sa.select(reference.c.fields).where(
        *of_project, reference.c.name == str(code), reference.c.deactivated_at.is_(None)
    )
    fields: Mapping[str, Any] | None = tx.execute(query).scalar()
    return fields


def _next_code(tx: Tx, app_id: str, code: int) -> int:
    later = [fields["code"] for _, fields in codes_of_app(tx, app_id) if fields["code"] > code]
    return min(later, default=min(code + 1, _LAST_CODE))


def check_resumable(build: Build) -> None:
    """Raise ConflictError unless the build has ended without success."""
    if not build.state.final or build.state is State.SUCCEEDED:
        raise ConflictError("Only a build that has failed can be resumed.")


def check_left(tx: Tx, context: ResumeContext) -> None:
    """Check whether the project lets the build be resumed at this state, and the build has left all that this demands.

    Raises ConflictError, which names what is missing.
    """
    rows = [artifact.row for artifact in context.artifacts]
    # The shuttle still has an uploaded file; others delete what has expired.
    lasting = [row for row in rows if row.reference is None or row.expires_at is None or row.expires_at > tx.now.at]
    variables = {variable.name for variable in context.variables}
    for demand in context.demands:
        if demand.get("is_resumable") is False:
            raise ConflictError("The project says that no build is resumed at this state; name another one.")
        for wanted in demand.get("required_artifacts") or ():
            if not _names(lasting, wanted):
                trouble = "has expired" if _names(rows, wanted) else "is missing"
                raise ConflictError(f"The artifact {wanted} is required for resuming at this state, and {trouble}.")
        for wanted in demand.get("required_variables") or ():
            if wanted not in variables:
                raise ConflictError(f"The variable {wanted} is required for resuming at this state, and is missing.")


def _names(rows: list[ArtifactRow], wanted: str) -> bool:
    """Whether one of the artifacts has this name or this type."""
    return any(wanted in {row.name, (row.reference or {}).get("artifact_type", "file")} for row in rows)


def free_id(tx: Tx, app_id: str, build_id: str, letter: str, *, room: int = 0) -> str:
    """The first of `<build_id>-<letter>1`, `…2` and so on that no build of the app has; `room`: see `extended_id`."""
    number = 1
    while find_builds(tx, app_id, found := extended_id(build_id, f"-{letter}{number}", room=room)):
        number += 1
    return found


def resume_record(tx: Tx, build_uuid: str, new: NewResume) -> tuple[Build, bool]:
    """Make the record that resumes this one; returns it and whether it is new.

    The new record is pending until its CI system begins to run it.

    Raises ConflictError: see `check_resumable`, `check_left` and `unfinished_successor`.
    """
    build = lock_build(tx, build_uuid)
    assert build is not None  # noqa: S101 - the caller has read it, and records are kept for days
    lock_line(tx, build.app_id)  # after the build, as in all transactions
    known = unfinished_successor(tx, build.build_uuid, new.same_request)
    if known is not None:
        return known, False
    if build.of_platform:
        raise ConflictError(
            "This build is for one platform of another build: resume that one, and the platforms that failed run again."
        )
    check_resumable(build)
    context = resume_context(tx, build, new.state_code)
    check_left(tx, context)
    build_id = new.build_id or free_id(tx, build.app_id, build.build_id, "r")
    number = new.number or _number_of_successor(build, build_id)
    resume = {**new.fields, "resume_from_state": context.resume_from_state}
    record = NewRecord(
        build_uuid=new.build_uuid,
        app_id=build.app_id,
        build_id=build_id,
        job_name=build.job_name,
        request_fingerprint=new.request_fingerprint,
        same_request=new.same_request,
        labels=build.labels,
        fields={**_inherited(build), "build_number": number, "resume": resume},
        metadata_json=build.metadata_json,
        state_code=context.resume_from_state,
        parent_uuid=build.parent_uuid,
        resume_from=build.build_uuid,
        pending=True,
        receivers=_receivers_of(tx, build.build_uuid),
    )
    successor, is_new = create_record(tx, record)
    if is_new and new.call is not None:
        record_call(tx, successor, new.call)
    return successor, is_new


def _number_of(build: Build) -> str:
    return str((build.record or {}).get("build_number", build.build_id))


def _number_of_successor(build: Build, build_id: str) -> str:
    number = _number_of(build)
    if build_id.startswith(build.build_id):
        return number + build_id.removeprefix(build.build_id)
    # The id was cut. If it has escapes, the number is the same without them.
    return build_id if number == build.build_id else unquote(build_id)


def _inherited(build: Build) -> dict[str, Any]:
    own = {"build_number", "resume", "ami_id", "image_id", "packer_manifest"}
    return {name: value for name, value in (build.record or {}).items() if name not in own}


def _receivers_of(tx: Tx, build_uuid: str) -> list[NewEndpoint]:
    columns = (receivers.c.kind, receivers.c.host, receivers.c.target, receivers.c.wire)
    of_statuses = (receivers.c.build_uuid == build_uuid, receivers.c.wire != PayloadFormat.RESUME)
    query = sa.select(*columns).where(*of_statuses).order_by(receivers.c.place)
    return [
        NewEndpoint(EndpointKind(row.kind), row.host, row.target, PayloadFormat(row.wire)) for row in tx.execute(query)
    ]


def resumes_of(tx: Tx, build_uuid: str) -> list[Build]:
    """The builds that resume this one, the oldest first."""
    query = sa.select(builds.c.build_id, builds.c.app_id).where(builds.c.resume_from == build_uuid)
    pairs = tx.execute(query.order_by(builds.c.position)).all()
    return [found for row in pairs for found in find_builds(tx, row.app_id, row.build_id) if found.resume_from]
