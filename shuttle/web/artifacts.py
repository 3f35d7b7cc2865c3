"""The artifacts of a build: their list, and each file by its name."""

from aiohttp import web

from shuttle.errors import InvalidRequestError, NotFoundError, ObjectNotFoundError, StoreError
from shuttle.objects.names import artifact_object
from shuttle.store.builds import artifacts_of
from shuttle.web import SERVICES
from shuttle.web.agent_artifacts import artifact_name
from shuttle.web.answers import json_answer
from shuttle.web.description import OBJECT_ERRORS, describe
from shuttle.web.models import Artifacts
from shuttle.web.names import named_build, raw_segments
from shuttle.web.representation import artifact_form
from shuttle.web.sources import send_object


@describe(Artifacts, errors=(NotFoundError, StoreError))
async def list_artifacts(request: web.Request) -> web.StreamResponse:
    """`GET /:app_id/:build_id/artifacts`: the list of the build's artifacts."""
    build = await named_build(request)
    artifacts = await request.app[SERVICES].database.run(artifacts_of, build.build_uuid)
    return json_answer(Artifacts(artifacts=[artifact_form(artifact) for artifact in artifacts]))


@describe("*/*", headers=("ETag",), errors=(InvalidRequestError, NotFoundError, *OBJECT_ERRORS))
async def get_artifact(request: web.Request) -> web.StreamResponse:
    """`GET /:app_id/:build_id/artifacts/<name>`: the file's bytes, with their SHA-256 as ETag."""
    build = await named_build(request)
    name = artifact_name(raw_segments(request)[3:])
    for artifact in await request.app[SERVICES].database.run(artifacts_of, build.build_uuid):
        if artifact.name == name:
            headers = {
                "Content-Type": artifact.content_type,
                "Content-Length": str(artifact.size_bytes),
                "ETag": f'"{artifact.sha256}"',
                "X-Content-Type-Options": "nosniff",
                "Content-Disposition": "attachment",
            }
            stored = artifact_object(build.build_uuid, name)
            if request.method == "HEAD":
                if await request.app[SERVICES].objects.head(stored) is None:
                    break
                return web.Response(headers=headers)
            try:
                return await send_object(request, stored, headers)
            except ObjectNotFoundError:
                break
    raise NotFoundError("There is no artifact of that name.")
