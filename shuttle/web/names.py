"""The ids in a path, decoded once from its raw segments, and the build that they name."""

from aiohttp import web

from shuttle.build import Build
from shuttle.errors import InvalidRequestError, NotFoundError, TokenNeededError
from shuttle.request import decode_id
from shuttle.standing import Standing
from shuttle.store.permitted import newest_of_pair
from shuttle.web import SERVICES, STANDING


def raw_segments(request: web.Request) -> list[str]:
    """The path's segments as sent, without empty ones: existing clients send repeated and trailing slashes.

    They agree with the path that the router matches, so there are as many of them as the route's pattern has.
    """
    path = request.raw_path.partition("?")[0].partition("#")[0]
    if not path.startswith("/"):  # absolute form, as sent to proxies
        path = "/" + path.partition("://")[2].partition("/")[2]
    if path.startswith("/-/"):
        return path.lstrip("/").split("/")
    return [segment for segment in path.split("/") if segment]


def app_id_in(request: web.Request) -> str:
    """The app id in the first segment; raises InvalidRequestError."""
    return _decoded(request, "app_id", raw_segments(request)[0])


def ids_in(request: web.Request) -> tuple[str, str]:
    """App id and build id; raises InvalidRequestError, which names the invalid one."""
    app_id, build_id, *_ = raw_segments(request)
    return _decoded(request, "app_id", app_id), _decoded(request, "build_id", build_id)


def _decoded(request: web.Request, field: str, raw_segment: str) -> str:
    """The decoded id. If it is invalid, an anonymous caller gets TokenNeededError: the older API has no such ids."""
    try:
        return decode_id(field, raw_segment)
    except InvalidRequestError:
        if request[STANDING] is Standing.ANONYMOUS:
            raise TokenNeededError from None
        raise


async def named_build(request: web.Request) -> Build:
    """The build that the path names and that this caller may read; NotFoundError if there is none."""
    try:
        app_id, build_id = ids_in(request)
    except InvalidRequestError:
        raise NotFoundError("There is no such build: its id would be invalid.") from None
    build = await request.app[SERVICES].database.run(newest_of_pair, app_id, build_id, request[STANDING])
    if build is None:
        raise NotFoundError(f"There is no build {build_id} of {app_id}.")
    return build
