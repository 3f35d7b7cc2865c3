"""The artifacts of a build below `/-/state`: references to what is stored elsewhere, and uploaded files."""

import re
from typing import Any
from urllib.parse import quote

from aiohttp import web

from shuttle.build import Build, State
from shuttle.errors import ConflictError, ForbiddenError, InvalidRequestError, NotFoundError, StoreError
from shuttle.events import instant_text
from shuttle.store.record_artifacts import (
    ArtifactFilter,
    ArtifactRow,
    NewReference,
    add_reference,
    change_artifact,
    delete_artifact,
    known_artifact,
    references_and_files,
)
from shuttle.store.record_states import EndedBuildError
from shuttle.store.records import lock_written
from shuttle.store.tx import Tx
from shuttle.web import SERVICES
from shuttle.web.description import Parameter, describe
from shuttle.web.state.answers import IGNORED_HEADERS, NO_CONTENT, answer, created, created_replies, no_content
from shuttle.web.state.artifact_models import ArtifactChange, ArtifactForBldst, ArtifactsForBldst, NewArtifact
from shuttle.web.state.bodies import SHAPE_ERRORS, read_shape
from shuttle.web.state.builds_named import build_in
from shuttle.web.state.details import InvalidShapeError, invalid
from shuttle.web.state.names import key_in
from shuttle.web.state.pages import flag_of

_CODE = re.compile(r"-?[0-9]{1,9}")
# The fields that are stored together in the column `reference`; each other field has its own column.
_REFERENCE = (
    "artifact_type",
    "artifact_path",
    "storage_backend",
    "storage_region",
    "storage_bucket",
    "storage_key",
    "size_bytes",
    "checksum",
    "checksum_algorithm",
    "metadata",
)
_ERRORS = (*SHAPE_ERRORS, ForbiddenError, NotFoundError, ConflictError, StoreError)
QUERY = (
    Parameter("state_code", {"type": "integer"}, "Artifacts of this state."),
    Parameter("artifact_type", {"type": "string"}, "Artifacts of this type."),
    Parameter(
        "is_resumable", {"type": "boolean"}, "true: those from which a later build can start; false: the others."
    ),
    Parameter("is_final", {"type": "boolean"}, "true: those that are a result of the build; false: the others."),
)


@describe(body=NewArtifact, replies=created_replies(ArtifactForBldst), errors=_ERRORS)
async def post_artifact(request: web.Request) -> web.StreamResponse:
    """`POST /-/state/builds/{build}/artifacts`: record where an artifact is stored."""
    build = await build_in(request)
    body = await read_shape(request, NewArtifact)
    if body.artifact_type is None and body.artifact_name is None:
        raise InvalidRequestError("Add artifact_type, or artifact_name.", field="artifact_type")
    given = body.given()
    reference = {"artifact_type": "file", "checksum_algorithm": "sha256"}
    reference |= {name: given[name] for name in _REFERENCE if name in given}
    new = NewReference(
        name=body.artifact_name,
        reference=reference,
        state_code=body.state_code,
        resumable=body.is_resumable is not False,
        final=body.is_final is True,
        expires_at=body.expires_at,
    )

    def record(tx: Tx) -> tuple[Build, ArtifactRow, bool]:
        written = lock_writable(tx, build.build_uuid)
        return written, *add_reference(tx, written, new)

    written, row, is_new = await request.app[SERVICES].database.run(record)
    return created(request, _entry(request, written, row), is_new=is_new)


def lock_writable(tx: Tx, build_uuid: str) -> Build:
    """Lock and return the build that a write to this one goes to: its newest successor if it was resumed, else itself.

    A failed build still takes artifacts and variables, because a later build may resume it.

    Raises:
        NotFoundError: there is no such build. EndedBuildError: it has succeeded.
    """
    build = lock_written(tx, build_uuid)
    if build.state is State.SUCCEEDED:
        raise EndedBuildError
    return build


@describe(ArtifactsForBldst, parameters=QUERY, errors=(InvalidShapeError, ForbiddenError, NotFoundError, StoreError))
async def list_artifacts(request: web.Request) -> web.StreamResponse:
    """`GET /-/state/builds/{build}/artifacts`: uploaded files and references."""
    build = await build_in(request)
    code = request.query.get("state_code")
    if code is not None and not _CODE.fullmatch(code):
        raise invalid("query", "state_code", "Write a whole number.", kind="int_parsing")
    which = ArtifactFilter(
        state_code=None if code is None else int(code),
        kind=request.query.get("artifact_type"),
        resumable=flag_of(request, "is_resumable"),
        final=flag_of(request, "is_final"),
    )
    rows = await request.app[SERVICES].database.run(references_and_files, build.build_uuid, which)
    return answer(request, ArtifactsForBldst([_entry(request, build, row) for row in rows]))


@describe(ArtifactForBldst, errors=(ForbiddenError, NotFoundError, StoreError))
async def get_artifact(request: web.Request) -> web.StreamResponse:
    """`GET /-/state/builds/{build}/artifacts/{artifact}`: one artifact, by its id or its name."""
    build = await build_in(request)
    row = await request.app[SERVICES].database.run(known_artifact, build.build_uuid, _key(request))
    return answer(request, _entry(request, build, row))


@describe(ArtifactForBldst, body=ArtifactChange, errors=_ERRORS, headers=IGNORED_HEADERS)
async def patch_artifact(request: web.Request) -> web.StreamResponse:
    """`PATCH /-/state/builds/{build}/artifacts/{artifact}`: change what is given."""
    build = await build_in(request)
    given = (await read_shape(request, ArtifactChange)).given()

    def change(tx: Tx) -> tuple[Build, ArtifactRow]:
        written = lock_written(tx, build.build_uuid)
        row = known_artifact(tx, written.build_uuid, _key(request))
        return written, change_artifact(tx, written.build_uuid, row, _columns(row, given))

    written, row = await request.app[SERVICES].database.run(change)
    return answer(request, _entry(request, written, row))


def _columns(row: ArtifactRow, given: dict[str, Any]) -> dict[str, Any]:
    names = {"artifact_name": "name", "is_resumable": "resumable", "is_final": "final", "expires_at": "expires_at"}
    columns = {column: given[name] for name, column in names.items() if name in given}
    moved = {name: given[name] for name in _REFERENCE if name in given}
    if moved and row.reference is None:
        raise InvalidRequestError("Change only is_resumable, is_final and expires_at of an uploaded file.")
    return columns | ({"reference": {**(row.reference or {}), **moved}} if moved else {})


@describe(replies=NO_CONTENT, errors=(ForbiddenError, NotFoundError, StoreError))
async def delete_one(request: web.Request) -> web.StreamResponse:
    """`DELETE /-/state/builds/{build}/artifacts/{artifact}`: hide it."""
    build = await build_in(request)

    def delete(tx: Tx) -> None:
        written = lock_written(tx, build.build_uuid)
        delete_artifact(tx, written.build_uuid, known_artifact(tx, written.build_uuid, _key(request)))

    await request.app[SERVICES].database.run(delete)
    return no_content()


def _key(request: web.Request) -> str:
    return key_in(request, "artifact", "Artifact")


def _entry(request: web.Request, build: Build, row: ArtifactRow) -> ArtifactForBldst:
    return artifact_entry(build, row, request.app[SERVICES].settings.build_shuttle_host)


def artifact_entry(build: Build, row: ArtifactRow, base_url: str) -> ArtifactForBldst:
    """The artifact for display."""
    if row.reference is None:
        ids = (build.app_id, build.build_id, "artifacts")
        path = "/".join([base_url, *(quote(each, safe="") for each in ids)])
        reference: dict[str, Any] = {
            "artifact_type": "file",
            "artifact_path": f"{path}/{quote(row.name)}",
            "storage_backend": "shuttle",
            "size_bytes": row.size_bytes,
            "checksum": row.sha256,
            "checksum_algorithm": "sha256",
        }
    else:
        reference = dict(row.reference)
    fields = {name: reference.get(name) for name in _REFERENCE}
    return ArtifactForBldst(
        **fields | {"checksum_algorithm": reference.get("checksum_algorithm") or "sha256"},
        id=row.artifact_id,
        build_id=build.build_uuid,
        artifact_name=row.name,
        artifact_location=reference.get("artifact_path"),
        state_code=row.state_code or 0,
        is_resumable=row.resumable,
        is_final=row.final,
        expires_at=row.expires_at and instant_text(row.expires_at),
        created_at=instant_text(row.created_at),
        updated_at=instant_text(row.updated_at or row.created_at),
        deleted_at=None,
    )
