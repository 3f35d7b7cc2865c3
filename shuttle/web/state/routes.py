"""The table of routes below `/-/state`; `shuttle.web.routes` has it as a part."""

from aiohttp import web

from shuttle.web import Handler, Role, Route
from shuttle.web.state import PREFIX, health, token, users
from shuttle.web.state.build_routes import BUILD_ROUTES


def _route(method: str, path: str, handler: Handler, role: Role, summary: str, *synonyms: str) -> Route:
    """A row; the paths begin after `/-/state`. Placeholders match one segment, which may have braces."""
    paths = [PREFIX + each for each in (path, *synonyms)]
    return Route(method, paths[0], handler, role, summary, state_api=True, synonyms=tuple(paths[1:]))


STATE_ROUTES: tuple[Route, ...] = (
    _route(
        "GET",
        "/health",
        health.get_health,
        Role.ANYBODY,
        "Whether the process answers requests, for `bldst`.",
        "/health/liveness",
    ),
    _route(
        "GET",
        "/ready",
        health.get_ready,
        Role.ANYBODY,
        "Whether this replica can answer requests, for `bldst`.",
        "/health/readiness",
    ),
    _route("GET", "/status", health.get_service_status, Role.ANYBODY, "Version, uptime and the number of builds."),
    _route(
        "POST",
        "/token",
        token.post_token,
        Role.ANYBODY,
        "Log in with a token as the password, for `bldst auth login`.",
        "/auth/token",
        "/auth/idm",
        "/auth/password",
    ),
    _route("GET", "/users/me", users.get_me, Role.READER, "The role of the caller's token, in the form of a user."),
    *BUILD_ROUTES,
)


def add_user_routes(app: web.Application) -> None:
    """Answer every other call about users with 404; call it after the table's routes are added."""
    app.router.add_route("*", f"{PREFIX}/users{{_rest:(/.*)?}}", users.no_users)
