"""The bytes of a build's artifacts below `/-/state`: uploading a file, and reading it."""

import re
from functools import partial

from aiohttp import web

from shuttle.errors import (
    BodyTimeoutError,
    BodyTooLargeError,
    ConflictError,
    ForbiddenError,
    InvalidRequestError,
    LocalDiskError,
    NotFoundError,
    ObjectNotFoundError,
    ObjectStoreError,
    StoreError,
    UnsupportedMediaTypeError,
)
from shuttle.objects.names import artifact_object
from shuttle.store.record_artifacts import known_artifact
from shuttle.store.record_files import check_file, record_file
from shuttle.store.records import written_build
from shuttle.web import SERVICES
from shuttle.web.agent_artifacts import artifact_name, store_upload
from shuttle.web.description import OBJECT_ERRORS, Parameter, describe
from shuttle.web.names import raw_segments
from shuttle.web.sources import send_object
from shuttle.web.state.answers import created, created_replies
from shuttle.web.state.artifact_models import ArtifactForBldst
from shuttle.web.state.artifacts import artifact_entry
from shuttle.web.state.builds_named import build_in
from shuttle.web.state.details import InvalidShapeError, invalid
from shuttle.web.state.names import key_in

_CODE = re.compile(r"-1|[0-9]{1,3}")
_STATE_CODE = Parameter("state_code", {"type": "integer"}, "The state that made the file; without it, the current one.")
# The position of the name in the path: `/-/state/builds/<build>/artifacts/<name>/content`.
_NAME = slice(5, 6)


@describe(
    body="*/*",
    parameters=(_STATE_CODE,),
    replies=created_replies(ArtifactForBldst),
    errors=(
        InvalidRequestError,
        InvalidShapeError,
        BodyTooLargeError,
        BodyTimeoutError,
        UnsupportedMediaTypeError,
        ForbiddenError,
        NotFoundError,
        ConflictError,
        StoreError,
        ObjectStoreError,
        LocalDiskError,
    ),
)
async def put_content(request: web.Request) -> web.StreamResponse:
    """`PUT /-/state/builds/{build}/artifacts/{artifact}/content`: store a file for the build that resumes this one.

    201, or 200 if it replaces one of the same name.
    """
    build, services = await build_in(request), request.app[SERVICES]
    code = request.query.get("state_code")
    if code is not None and not _CODE.fullmatch(code):
        raise invalid("query", "state_code", "Write a whole number from -1 to 999.", kind="int_parsing")
    name = artifact_name(raw_segments(request)[_NAME])
    written = await services.database.run(written_build, build.build_uuid)
    record = partial(record_file, state_code=None if code is None else int(code))
    _, (written, row, is_new) = await store_upload(request, written.build_uuid, name, check=check_file, record=record)
    return created(request, artifact_entry(written, row, services.settings.build_shuttle_host), is_new=is_new)


@describe(
    "*/*", headers=("ETag",), errors=(InvalidRequestError, ForbiddenError, NotFoundError, ConflictError, *OBJECT_ERRORS)
)
async def get_content(request: web.Request) -> web.StreamResponse:
    """`GET /-/state/builds/{build}/artifacts/{artifact}/content`: the file's bytes, with their SHA-256 as ETag."""
    build = await build_in(request)
    key = key_in(request, "artifact", "Artifact")
    row = await request.app[SERVICES].database.run(known_artifact, build.build_uuid, key)
    if row.reference is not None:
        raise ConflictError("This artifact is stored elsewhere; fetch it from its artifact_path.")
    headers = {
        "Content-Type": row.content_type,
        "ETag": f'"{row.sha256}"',
        "X-Content-Type-Options": "nosniff",
        "Content-Disposition": "attachment",
    }
    try:
        return await send_object(request, artifact_object(build.build_uuid, row.name), headers)
    except ObjectNotFoundError:
        raise NotFoundError("The file is not, or no longer, in the object store.") from None
