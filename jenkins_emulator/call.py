"""One request as the routes see it: the user, the parameters, and the address by which the caller knows the server."""

from typing import Any
from urllib.parse import unquote

from aiohttp import web

from jenkins_emulator.answers import Answers
from jenkins_emulator.controller import Controller
from jenkins_emulator.permissions import READ
from jenkins_emulator.security import Principal, Security
from jenkins_emulator.tree import Bean, TreeError, parse_tree, render
from jenkins_emulator.view import View

_FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")
_DEFAULT_PORTS = {"http": "80", "https": "443"}


class Call:
    """One request. `path` has the decoded segments of the path, without empty ones."""

    def __init__(
        self, request: web.Request, principal: Principal, controller: Controller, answers: Answers, security: Security
    ) -> None:
        """Collect what a route needs."""
        self.request = request
        self.principal = principal
        self.controller = controller
        self.answers = answers
        self.security = security
        self.path = [unquote(part) for part in request.rel_url.raw_path.split("/") if part]
        self.base = _base(request)
        self.view = View(self.base, answers.generation, principal.may(READ))

    @property
    def is_read(self) -> bool:
        """Whether the method is GET or HEAD."""
        return self.request.method in ("GET", "HEAD")

    def need_post(self) -> None:
        """405 for anything but POST."""
        if self.request.method != "POST":
            raise self.answers.refused(405, "This URL requires POST", {"Allow": "POST"})

    def location(self, path: str) -> str:
        """The value of Location for `path` in this generation."""
        return self.base + path if self.answers.generation.absolute_locations else path

    def need(self, permission: str) -> None:
        """Raise 403 with the name of the permission unless the user has it."""
        if not self.principal.may(permission):
            raise self.answers.forbidden(self.principal.name, permission)

    async def parameters(self) -> dict[str, str]:
        """The parameters in query and form body; the query takes precedence. A JSON body is ignored (recorded)."""
        given: dict[str, str] = {}
        if self.request.content_type in _FORM_TYPES:
            given = {name: value for name, value in (await self.request.post()).items() if isinstance(value, str)}
        return {**given, **self.request.query}

    def json(self, bean: Bean) -> web.Response:
        """The response of the API, selected by `tree=` or `depth=`."""
        query: Any = self.request.query
        try:
            tree = parse_tree(query["tree"]) if query.get("tree") else None
        except TreeError as error:
            raise self.answers.refused(500, f"cannot read tree={error}") from error
        depth = query.get("depth", "0")
        return self.answers.json(render(bean, tree, int(depth) if depth.isdecimal() else 0))


def _base(request: web.Request) -> str:
    """The base of addresses in responses: from Host, or from the headers of a proxy."""
    scheme = request.headers.get("X-Forwarded-Proto", request.scheme)
    host = request.headers.get("X-Forwarded-Host", request.host)
    port = request.headers.get("X-Forwarded-Port", "")
    if port and ":" not in host and port != _DEFAULT_PORTS.get(scheme):
        host = f"{host}:{port}"
    return f"{scheme}://{host}"
