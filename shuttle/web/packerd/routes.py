"""The table of routes of packer over REST: below `/-/packerd` of the main listener, and at the root of its own one."""

from aiohttp import web

from shuttle.web import Role, Route
from shuttle.web.auth import Gate
from shuttle.web.packerd import health, requests, responses, swagger
from shuttle.web.packerd.access import guard_packerd

_REQUEST = "/build/queue/{id:[^/]+}"
_RESPONSES = "/build/responses/{id:[^/]+}"
_RESPONSE = f"{_RESPONSES}/{{buildnumber:[^/]+}}"

PACKERD_ROUTES: tuple[Route, ...] = (
    Route("POST", "/build", requests.post_build, Role.CONTROLLER, "Ask for a build of a template."),
    Route("GET", "/build/queue", requests.get_queue, Role.READER, "The requests, the oldest first."),
    Route("GET", _REQUEST, requests.get_request, Role.READER, "One request."),
    Route("POST", _REQUEST, requests.post_run, Role.CONTROLLER, "Run the request once more."),
    Route("DELETE", _REQUEST, requests.delete_run, Role.CONTROLLER, "Stop the newest run of the request."),
    Route("GET", _RESPONSES, responses.get_responses, Role.READER, "The runs of the request."),
    Route("GET", _RESPONSE, responses.get_response, Role.READER, "One run with its stages and artifacts."),
    Route("GET", f"{_RESPONSE}/stages", responses.get_stages, Role.READER, "The stages of the run."),
    Route(
        "GET",
        f"{_RESPONSE}/stages/{{stagename:[^/]+}}",
        responses.get_stage,
        Role.READER,
        "One stage with the end of its log; with follow=true its whole log as text, while it grows.",
    ),
    Route("GET", "/health", health.get_health, Role.ANYBODY, "Whether the service can build."),
    Route("GET", "/swagger.json", swagger.get_swagger, Role.ANYBODY, "This document."),
)


def add_packerd_routes(app: web.Application, gate: Gate, prefix: str = "") -> None:
    """Add the routes below the prefix."""
    for route in PACKERD_ROUTES:
        handler = guard_packerd(gate, route)
        if route.method == "GET":
            app.router.add_get(prefix + route.path, handler)
        else:
            app.router.add_route(route.method, prefix + route.path, handler)
