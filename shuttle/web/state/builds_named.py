"""The build that a path below `/-/state` names, and whether the caller's state token opens it."""

from collections.abc import Callable

from aiohttp import web

from shuttle.build import Build
from shuttle.errors import ForbiddenError, InvalidRequestError, NotFoundError
from shuttle.lifecycle.create_record import build_id_of
from shuttle.request import UUID
from shuttle.store.builds import find_newest
from shuttle.store.projects import find_project
from shuttle.store.records import known_build
from shuttle.store.tx import Tx
from shuttle.web import SERVICES
from shuttle.web.state.access import STATE_BUILD
from shuttle.web.state.names import key_in

NOT_FOUND = "Build not found"


async def build_in(request: web.Request, parameter: str = "build") -> Build:
    """The build in this part of the path: a uuid, or `<project>/<build_number>`, percent-encoded.

    Raises:
        NotFoundError: there is none. ForbiddenError: the caller's state token is that of another build.
    """
    return await request.app[SERVICES].database.run(finder_in(request, parameter))


def finder_in(request: web.Request, parameter: str = "build") -> Callable[[Tx], Build]:
    """Finds the build that `build_in` returns, and raises the same errors, in the transaction of a handler."""
    key = key_in(request, parameter, "Build")

    def find(tx: Tx) -> Build:
        build = _find(tx, key)
        check_token(request, build)
        return build

    return find


async def written_uuid_in(request: web.Request) -> str:
    """The uuid of the build in the path, for a write that raises NotFoundError itself.

    Reading the build would take as long as the write. So it is read only if the path has its number instead of its
    uuid, or if a state token has to be checked. Raises NotFoundError and ForbiddenError, as `build_in` does.
    """
    key = key_in(request, "build", "Build")
    if UUID.fullmatch(key) and STATE_BUILD not in request:
        return key.lower()
    return (await build_in(request)).build_uuid


def check_token(request: web.Request, build: Build) -> None:
    """A state token opens its build, the build's children, and the build that it resumes. Raises ForbiddenError."""
    own = request.get(STATE_BUILD)
    if (
        own is not None
        and build.build_uuid not in {own.build_uuid, own.resume_from}
        and (build.parent_uuid != own.build_uuid)
    ):
        raise ForbiddenError("This token belongs to another build.")


def _find(tx: Tx, key: str) -> Build:
    if UUID.fullmatch(key):
        return known_build(tx, key.lower())
    project_key, slash, number = key.partition("/")
    if not slash:
        raise NotFoundError(NOT_FOUND)
    project = find_project(tx, project_key)
    build = None if project is None else _of_number(tx, project.app_id, number)
    if build is None:
        raise NotFoundError(NOT_FOUND)
    return build


def _of_number(tx: Tx, app_id: str, number: str) -> Build | None:
    try:
        found = find_newest(tx, app_id, build_id_of(number))
    except InvalidRequestError:  # no record can have this number, but the escaped form of an id may be too long for one
        found = None
    return found or find_newest(tx, app_id, number)
