"""One request as the routes see it: who asks, with which parameters, and under which address we are known to them."""

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
    """`path` is the decoded path in its segments, without empty ones."""

    def __init__(
        self, request: web.Request, principal: Principal, controller: Controller, answers: Answers, security: Security
    ) -> None:
        """Bring together what a route needs."""
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
        """GET or HEAD."""
        return self.request.method in ("GET", "HEAD")

    def need_post(self) -> None:
        """405 for anything but POST."""
        if self.request.method != "POST":
            raise self.answers.refused(405, "This URL requires POST", {"Allow": "POST"})

    def location(self, path: str) -> str:
        """`path` as this generation writes it in Location."""
        return self.base + path if self.answers.generation.absolute_locations else path

    def need(self, permission: str) -> None:
        """403 naming the permission."""
        if not self.principal.may(permission):
            raise self.answers.forbidden(self.principal.name, permission)

    async def parameters(self) -> dict[str, str]:
        """Query and form body, the query first; a JSON body has none (recorded: its values are ignored)."""
        given: dict[str, str] = {}
        if self.request.content_type in _FORM_TYPES:
            given = {name: value for name, value in (await self.request.post()).items() if isinstance(value, str)}
        return {**given, **self.request.query}

    def json(self, bean: Bean) -> web.Response:
        """The API's answer, by `tree=` or `depth=`."""
        query: Any = self.request.query
        try:
            tree = parse_tree(query["tree"]) if query.get("tree") else None
        except TreeError as error:
            raise self.answers.refused(500, f"cannot read tree={error}") from error
        depth = query.get("depth", "0")
        return self.answers.json(render(bean, tree, int(depth) if depth.isdigit() else 0))


def _base(request: web.Request) -> str:
    """Addresses follow the request's Host, or what a proxy says of it."""
    scheme = request.headers.get("X-Forwarded-Proto", request.scheme)
    host = request.headers.get("X-Forwarded-Host", request.host)
    port = request.headers.get("X-Forwarded-Port", "")
    if port and ":" not in host and port != _DEFAULT_PORTS.get(scheme):
        host = f"{host}:{port}"
    return f"{scheme}://{host}"
