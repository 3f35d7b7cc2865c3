"""The table of routes below `/-/state`; `shuttle.web.routes` has it as a part."""

from collections.abc import Iterator
from dataclasses import replace

from aiohttp import web

from shuttle.web import Handler, Role, Route
from shuttle.web.state import PREFIX, downloads, health, projects, resumable_states, state_codes, token, users
from shuttle.web.state.build_routes import BUILD_ROUTES
from shuttle.web.state.references import COLLECTIONS, handlers_of


def _route(method: str, path: str, handler: Handler, role: Role, summary: str, *synonyms: str) -> Route:
    """A row; the paths begin after `/-/state`. Placeholders are `{name:[^/]+}`: aiohttp's default matches no braces."""
    paths = [PREFIX + each for each in (path, *synonyms)]
    return Route(method, paths[0], handler, role, summary, state_api=True, synonyms=tuple(paths[1:]))


def _reference_routes() -> Iterator[Route]:
    """Five rows for each kind of reference data. It belongs to no build, so any build's state token may read it."""
    for each in COLLECTIONS:
        handlers, noun = handlers_of(each), each.kind.noun
        ones = [f"{path}/{{reference_id:[^/]+}}" for path in each.paths]
        yield _route("POST", each.paths[0], handlers.post, Role.CONTROLLER, f"Create: {noun}.", *each.paths[1:])
        listed = _route("GET", each.paths[0], handlers.list_all, Role.READER, f"List: {noun}.", *each.paths[1:])
        read = _route("GET", ones[0], handlers.get, Role.READER, f"Read: {noun}.", *ones[1:])
        yield from (replace(row, open_to_builds=True) for row in (listed, read))
        yield _route("PUT", ones[0], handlers.put, Role.CONTROLLER, f"Change: {noun}.", *ones[1:])
        yield _route("DELETE", ones[0], handlers.delete, Role.CONTROLLER, f"Delete: {noun}.", *ones[1:])


def _state_code_routes(path: str) -> Iterator[Route]:
    yield _route("GET", path, state_codes.get, Role.READER, "One state code.")
    yield _route("PUT", path, state_codes.put, Role.CONTROLLER, "Change a state code.")
    yield _route("DELETE", path, state_codes.delete, Role.CONTROLLER, "Delete a state code.")


_STATE_CODE = "{state_code_id:[^/]+}"
_PROJECT = "/projects/{project_id:[^/]+}"
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
    _route("GET", "/bldst", downloads.get_bldst, Role.ANYBODY, "`bldst` as one file."),
    _route("GET", "/report.sh", downloads.get_report_functions, Role.ANYBODY, "Shell functions that report with curl."),
    _route("GET", "/pip/simple/buildstate-cli", downloads.get_index, Role.ANYBODY, "The files of `bldst` for `pip`."),
    _route(
        "GET", "/pip/simple/buildstate-cli/{wheel:[^/]+}", downloads.get_wheel, Role.ANYBODY, "The wheel of `bldst`."
    ),
    *BUILD_ROUTES,
    _route("POST", "/projects", projects.post_project, Role.CONTROLLER, "Create a project."),
    _route("GET", "/projects", projects.list_projects, Role.READER, "The projects, the oldest first."),
    _route("GET", _PROJECT, projects.get_project, Role.READER, "One project."),
    _route("PUT", _PROJECT, projects.put_project, Role.CONTROLLER, "Change description or parent of a project."),
    _route("DELETE", _PROJECT, projects.delete_project, Role.CONTROLLER, "Delete a project; its builds remain."),
    _route("POST", f"{_PROJECT}/state-codes", state_codes.post_of_project, Role.CONTROLLER, "Create a state code."),
    _route("GET", f"{_PROJECT}/state-codes", state_codes.list_of_project, Role.READER, "The project's state codes."),
    *_state_code_routes(f"{_PROJECT}/state-codes/{_STATE_CODE}"),
    _route("POST", "/state-codes", state_codes.post, Role.CONTROLLER, "Create a state code of a project."),
    _route("GET", "/state-codes", state_codes.list_all, Role.READER, "The state codes from 0 to 100."),
    *_state_code_routes(f"/state-codes/{_STATE_CODE}"),
    _route(
        "POST",
        f"{_PROJECT}/resumable-states",
        resumable_states.post,
        Role.CONTROLLER,
        "Say how builds are resumed at a state code.",
    ),
    _route(
        "GET", f"{_PROJECT}/resumable-states", resumable_states.list_all, Role.READER, "The project's resumable states."
    ),
    _route(
        "GET",
        f"{_PROJECT}/resumable-states/{{code:[^/]+}}",
        resumable_states.get,
        Role.READER,
        "How builds are resumed at this code.",
    ),
    _route(
        "PUT",
        f"{_PROJECT}/resumable-states/{{code:[^/]+}}",
        resumable_states.put,
        Role.CONTROLLER,
        "Change how builds are resumed at this code.",
    ),
    *_reference_routes(),
)


def add_user_routes(app: web.Application) -> None:
    """Answer every other call about users with 404; call it after the table's routes are added."""
    app.router.add_route("*", f"{PREFIX}/users{{_rest:(/.*)?}}", users.no_users)
