"""The states of a build below `/-/state`: two forms of reporting one, and their list."""

from typing import Any

from aiohttp import web

from shuttle.errors import ConflictError, ForbiddenError, InvalidRequestError, NotFoundError, StoreError
from shuttle.events import instant_text
from shuttle.store.record_artifacts import NewReference, replace_reference
from shuttle.store.record_states import StateReport, StateRow, record_state, states_of
from shuttle.store.records import known_build
from shuttle.store.tx import Tx
from shuttle.web import SERVICES
from shuttle.web.description import Reply, describe
from shuttle.web.state.answers import IGNORED_HEADERS, answer, created
from shuttle.web.state.bodies import SHAPE_ERRORS, read_shape
from shuttle.web.state.build_forms import state_entries, status_of
from shuttle.web.state.builds_named import build_in, written_uuid_in
from shuttle.web.state.state_models import (
    STATE_DETAILS,
    ArtifactOfState,
    BuildState,
    BuildStates,
    CurrentState,
    NewState,
    StateUpdate,
)

_ERRORS = (*SHAPE_ERRORS, ForbiddenError, NotFoundError, ConflictError, StoreError)


@describe(body=NewState, replies={201: Reply((BuildState,), IGNORED_HEADERS)}, errors=_ERRORS)
async def post_states(request: web.Request) -> web.StreamResponse:
    """`POST /-/state/builds/{build}/states`: the build is in this state now."""
    build_uuid = await written_uuid_in(request)
    body = await read_shape(request, NewState)
    report = StateReport(
        code=body.state, status=body.status, message=body.message, details=_details(body), final=body.final
    )
    return created(request, await _record(request, build_uuid, report, body), is_new=True)


@describe(BuildState, body=StateUpdate, errors=_ERRORS, headers=IGNORED_HEADERS)
async def post_state(request: web.Request) -> web.StreamResponse:
    """`POST /-/state/builds/{build}/state`: the same; the code may be the name of a state code of the project."""
    build_uuid = await written_uuid_in(request)
    body = await read_shape(request, StateUpdate)
    given = next((value for value in (body.state_code, body.state, body.state_name) if value is not None), None)
    if given is None:
        raise InvalidRequestError("Add state_code: a number, or the name of a state code.", field="state_code")
    code, name = (given, None) if isinstance(given, int) else (None, given)
    report = StateReport(code, name, body.status, body.message, _details(body), body.final)
    return answer(request, await _record(request, build_uuid, report, body))


def _details(body: NewState | StateUpdate) -> dict[str, Any]:
    given = body.given()
    return {name: given[name] for name in STATE_DETAILS if name in given}


async def _record(request: web.Request, build_uuid: str, report: StateReport, left: ArtifactOfState) -> BuildState:
    """Record the state, and the file that the build stored during it, as an artifact.

    A state that is tried again has stored another file: each row of a state shows its own, the artifact the newest.
    """

    def record(tx: Tx) -> BuildState:
        written_uuid, row = record_state(tx, build_uuid, report)
        if left.artifact_storage_path is not None:
            replace_reference(tx, known_build(tx, written_uuid), _reference(row, left))
        return state_entries(written_uuid, [row])[0]

    return await request.app[SERVICES].database.run(record)


def _reference(row: StateRow, left: ArtifactOfState) -> NewReference:
    reference = {
        "artifact_type": left.artifact_storage_type or "file",
        "artifact_path": left.artifact_storage_path,
        "storage_backend": left.artifact_storage_type,
        "size_bytes": left.artifact_size_bytes,
        "checksum": left.artifact_checksum,
        "checksum_algorithm": "sha256",
        "metadata": left.artifact_metadata,
    }
    return NewReference(f"state-{row.code}", reference, row.code, resumable=True, final=False, expires_at=None)


@describe(BuildStates, errors=(ForbiddenError, NotFoundError, StoreError))
async def list_states(request: web.Request) -> web.StreamResponse:
    """`GET /-/state/builds/{build}/states`: the states in the order in which they began."""
    build = await build_in(request)
    rows = await request.app[SERVICES].database.run(states_of, build.build_uuid)
    return answer(request, BuildStates(state_entries(build.build_uuid, rows)))


@describe(CurrentState, errors=(ForbiddenError, NotFoundError, StoreError))
async def get_state(request: web.Request) -> web.StreamResponse:
    """`GET /-/state/builds/{build}/state`: the current state and the history."""
    build = await build_in(request)
    rows = await request.app[SERVICES].database.run(states_of, build.build_uuid)
    history = state_entries(build.build_uuid, rows)
    changed_at = max([build.accepted_at, *(row.ended_at or row.began_at for row in rows)])
    body = CurrentState(
        build_id=build.build_uuid,
        current_state=build.state_code or 0,
        status=status_of(build),
        last_transition=instant_text(max([build.accepted_at, *(row.began_at for row in rows)])),
        last_updated=instant_text(changed_at),
        state_history=history,
        history=history,
    )
    return answer(request, body)
