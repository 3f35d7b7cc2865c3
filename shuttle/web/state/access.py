"""Tokens below `/-/state`: `X-API-Key: <token>` or `Authorization: Bearer <token>`."""

from collections.abc import Iterator

from aiohttp import web

from shuttle.build import Build
from shuttle.errors import ForbiddenError, UnauthorizedError
from shuttle.lifecycle.state_token import build_of_token
from shuttle.standing import Standing
from shuttle.store.builds import find_build
from shuttle.web import SERVICES, STANDING, Handler, Role, Route
from shuttle.web.auth import Gate

_CHALLENGE = "Bearer, X-API-Key"


# The build whose state token the caller has presented; absent = the caller has a token of the service.
STATE_BUILD: web.RequestKey[Build] = web.RequestKey("state_build", Build)


def guard_state(gate: Gate, route: Route) -> Handler:
    """The route's handler, restricted to callers with its role; it reads their standing from `request[STANDING]`.

    Routes for builds (`open_to_builds`) also take a state token, and check themselves which build it opens. All others
    answer it with 403.
    """
    if route.role is Role.ANYBODY:
        return route.handler
    needed = Standing[route.role.name]

    async def guarded(request: web.Request) -> web.StreamResponse:
        build = await _build_of_token(request)
        if build is not None and route.open_to_builds:
            request[STANDING], request[STATE_BUILD] = Standing.READER, build
        else:
            request[STANDING] = _check(gate, request, needed, build)
        return await route.handler(request)

    return guarded


def _check(gate: Gate, request: web.Request, needed: Standing, build: Build | None) -> Standing:
    """The caller's standing; if both headers have a token, the higher standing counts. `build`: see `_build_of_token`.

    Raises UnauthorizedError (401) without a valid token, ForbiddenError (403) if the role does not suffice. Without
    tokens of the service: see `Gate.is_open`.
    """
    if gate.is_open(request):
        return Standing.CONTROLLER
    known = [standing for token in _tokens_in(request) if (standing := gate.standing_of(token)) is not None]
    if not known and build is not None:
        raise ForbiddenError(
            "The state token of a build opens only the records of this build, of its children, and of the build that it"
            " resumes."
        )
    if not known:
        raise UnauthorizedError(
            "Authentication required. Use Bearer token or X-API-Key.", headers={"WWW-Authenticate": _CHALLENGE}
        )
    if max(known) < needed:
        raise ForbiddenError("Write permission required")
    return max(known)


async def _build_of_token(request: web.Request) -> Build | None:
    """The build whose state token the caller has, if it has not ended."""
    services = request.app[SERVICES]
    for token in _tokens_in(request):
        build_uuid = build_of_token(token, services.vault)
        build = None if build_uuid is None else await services.database.run(find_build, build_uuid)
        if build is not None and not build.state.final:
            return build
    return None


def _tokens_in(request: web.Request) -> Iterator[str]:
    key = request.headers.get("X-API-Key")
    if key is not None:
        yield key.strip()
    scheme, _, token = request.headers.get("Authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer":
        yield token.strip()
