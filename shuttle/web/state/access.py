"""Tokens below `/-/state`: `X-API-Key: <token>` or `Authorization: Bearer <token>`."""

from collections.abc import Iterator

from aiohttp import web

from shuttle.errors import ForbiddenError, UnauthorizedError
from shuttle.standing import Standing
from shuttle.web import STANDING, Handler, Role, Route
from shuttle.web.auth import Gate

_CHALLENGE = "Bearer, X-API-Key"


def guard_state(gate: Gate, route: Route) -> Handler:
    """The route's handler, restricted to callers with its role; it reads their standing from `request[STANDING]`."""
    if route.role is Role.ANYBODY:
        return route.handler
    needed = Standing[route.role.name]

    async def guarded(request: web.Request) -> web.StreamResponse:
        request[STANDING] = _check(gate, request, needed)
        return await route.handler(request)

    return guarded


def _check(gate: Gate, request: web.Request, needed: Standing) -> Standing:
    """The caller's standing; of several tokens the one that may do most counts.

    Raises UnauthorizedError (401) without a valid token, ForbiddenError (403) if the role does not suffice. Without
    tokens of the service: see `Gate.is_open`.
    """
    if gate.is_open(request):
        return Standing.CONTROLLER
    known = [standing for token in _tokens_in(request) if (standing := gate.standing_of(token)) is not None]
    if not known:
        raise UnauthorizedError(
            "Authentication required. Use Bearer token or X-API-Key.", headers={"WWW-Authenticate": _CHALLENGE}
        )
    if max(known) < needed:
        raise ForbiddenError("Write permission required")
    return max(known)


def _tokens_in(request: web.Request) -> Iterator[str]:
    key = request.headers.get("X-API-Key")
    if key is not None:
        yield key.strip()
    scheme, _, token = request.headers.get("Authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer":
        yield token.strip()
