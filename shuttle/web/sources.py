"""`GET|HEAD /<segment>`: the source of a build by its uuid, else the builds of an app."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import BinaryIO
from urllib.parse import unquote

from aiohttp import web

from shuttle.build import Build
from shuttle.errors import InvalidRequestError, NotFoundError, ObjectNotFoundError, TokenNeededError
from shuttle.lifecycle.stage import normalized_source
from shuttle.lifecycle.stored_sources import find_source
from shuttle.objects.local import local_disk
from shuttle.request import UUID
from shuttle.standing import Standing
from shuttle.store.builds import find_build
from shuttle.store.permitted import check_source
from shuttle.web import SERVICES, STANDING, STREAMING
from shuttle.web.answers import json_answer
from shuttle.web.builds import PAGE_QUERY, list_app
from shuttle.web.description import OBJECT_ERRORS, Reply, describe
from shuttle.web.models import BuildPage, NotFoundStatus
from shuttle.web.names import app_id_in, raw_segments

_BLOCK_BYTES = 256 * 1024


@describe(
    BuildPage,
    "*/*",
    replies={404: Reply((NotFoundStatus,))},
    errors=(InvalidRequestError, ObjectNotFoundError, *OBJECT_ERRORS),
    parameters=PAGE_QUERY,
)
async def get_source_or_app(request: web.Request) -> web.StreamResponse:
    """A known build uuid → the original bytes; else a known app → its builds; else 404."""
    services = request.app[SERVICES]
    segment = unquote(raw_segments(request)[0])
    if request[STANDING] is Standing.ANONYMOUS:
        if not UUID.fullmatch(segment):
            raise TokenNeededError
        return await _original(request, segment)  # never a list: a UUID may be an app's id as well
    if UUID.fullmatch(segment) and await services.database.run(find_build, segment.lower()) is not None:
        return await _original(request, segment)
    try:
        return await list_app(request, app_id_in(request))
    except InvalidRequestError as error:
        if error.field != "app_id":
            raise
        return _not_found()  # no app can have such an id
    except NotFoundError:
        # Sources of the old shuttle are only in the bucket, not in the database.
        return await _original(request, segment) if UUID.fullmatch(segment) else _not_found()


def _not_found() -> web.StreamResponse:
    return json_answer(NotFoundStatus(), status=404)


async def _original(request: web.Request, build_uuid: str) -> web.StreamResponse:
    services, standing = request.app[SERVICES], request[STANDING]
    found = await find_source(build_uuid, services)
    await services.database.run(check_source, build_uuid, standing)
    if found is None:
        return _not_found()
    name, info = found
    headers = {
        "Content-Type": info.content_type,
        "Content-Length": str(info.size_bytes),
        "X-Content-Type-Options": "nosniff",
        "Content-Disposition": "attachment",
    }
    if request.method == "HEAD":
        return web.Response(headers=headers)
    return await send_object(
        request, name, headers, once_open=lambda: services.database.run(check_source, build_uuid, standing)
    )


async def send_object(
    request: web.Request,
    name: str,
    headers: dict[str, str],
    *,
    once_open: Callable[[], Awaitable[None]] | None = None,
) -> web.StreamResponse:
    """Stream an object of known length; raises ObjectNotFoundError and errors of `once_open` before the first byte."""
    async with request.app[SERVICES].objects.open(name) as opened:
        if once_open is not None:
            await once_open()
        response = web.StreamResponse(headers=headers | {"Content-Length": str(opened.size_bytes)})
        request[STREAMING] = True
        await response.prepare(request)
        async for chunk in opened.chunks:
            await response.write(chunk)
        await response.write_eof()
    return response


async def get_normalized_source(request: web.Request, build: Build) -> web.StreamResponse:
    """`GET /-/builds/<uuid>/source.tar.gz` for the pipeline: the source, checked and normalized."""
    missing = NotFoundError("This build has no stored source.")
    try:
        path = await normalized_source(build, request.app[SERVICES])
    except ObjectNotFoundError:
        raise missing from None
    with local_disk():
        try:
            file = path.open("rb")
        except FileNotFoundError:  # the build has ended meanwhile
            raise missing from None
    with file:
        return await _send_file(request, file)


async def _send_file(request: web.Request, file: BinaryIO) -> web.StreamResponse:
    """Send the file in blocks.

    web.FileResponse would let the kernel send it, and the connection could not limit how long a client reads nothing.
    """
    size_bytes = os.fstat(file.fileno()).st_size
    headers = {"Content-Type": "application/gzip", "Content-Length": str(size_bytes)}
    response = web.StreamResponse(headers=headers)
    request[STREAMING] = True
    await response.prepare(request)
    while request.method != "HEAD" and (block := await asyncio.to_thread(file.read, _BLOCK_BYTES)):
        await response.write(block)
    await response.write_eof()
    return response
