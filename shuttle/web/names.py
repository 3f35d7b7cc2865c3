"""The ids in a path, decoded once from its raw segments, and the builds they name."""

from aiohttp import web

from shuttle.build import Build
from shuttle.errors import InvalidRequestError, NotFoundError
from shuttle.request import decode_id
from shuttle.web import PORTS


def raw_segments(request: web.Request) -> list[str]:
    """The path's segments as they were sent; clients in the field double slashes, and end with one.

    They are those of the path that the router matches, so that there are as many as a route says.
    """
    path = request.raw_path.partition("?")[0].partition("#")[0]
    if not path.startswith("/"):  # absolute form, as sent to proxies
        path = "/" + path.partition("://")[2].partition("/")[2]
    if path.startswith("/-/"):
        return path.lstrip("/").split("/")
    return [segment for segment in path.split("/") if segment]


def app_id_in(request: web.Request) -> str:
    """The first segment."""
    return decode_id("app_id", raw_segments(request)[0])


def ids_in(request: web.Request) -> tuple[str, str]:
    """App id and build id; raises InvalidRequestError that names the one at fault."""
    app_id, build_id, *_ = raw_segments(request)
    return decode_id("app_id", app_id), decode_id("build_id", build_id)


async def named_build(request: web.Request) -> Build:
    """The build that the path names; an id that no build can have names none (404)."""
    try:
        app_id, build_id = ids_in(request)
    except InvalidRequestError:
        raise NotFoundError("No build can have such an id.") from None
    build = await request.app[PORTS].store.build_of(app_id, build_id)
    if build is None:
        raise NotFoundError(f"There is no build {build_id} of {app_id}.")
    return build
