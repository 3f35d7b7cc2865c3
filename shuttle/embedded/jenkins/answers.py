"""The shapes of Jenkins' answers: which headers come with which status; pages are short where Jenkins' are long."""

import html
import json
import secrets
from collections.abc import Mapping
from typing import Any

from aiohttp import web

VERSION = "2.263.4"


class RefusedError(Exception):
    """Ends the handling of a request with `response`."""

    def __init__(self, response: web.Response) -> None:
        super().__init__(f"{response.status}")
        self.response = response


class Answers:
    """Responses of one server run: X-Jenkins-Session changes at each start, as there."""

    def __init__(self) -> None:
        """A new session mark."""
        self.session_mark = secrets.token_hex(4)

    @property
    def _identity(self) -> dict[str, str]:
        return {"X-Jenkins": VERSION, "X-Jenkins-Session": self.session_mark}

    def json(self, value: Any) -> web.Response:
        """The API's answer: with X-Jenkins."""
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        return web.Response(text=text, content_type="application/json", charset="utf-8", headers=self._identity)

    def page(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> web.Response:
        """A page rendered by Jenkins: with X-Hudson and X-Jenkins."""
        shown = {"X-Hudson": "1.395", **self._identity, **(headers or {})}
        return _html(status, text, "utf-8", shown)

    def refused(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> RefusedError:
        """An error page rendered by Jenkins (500, 405, 409, bad names …)."""
        return RefusedError(self.page(status, text, headers))

    def forbidden(self, user: str | None, permission: str) -> RefusedError:
        """A missing permission."""
        name = user or "anonymous"
        headers = {"X-You-Are-Authenticated-As": name, "X-Required-Permission": permission}
        return self.refused(403, f"{name} is missing the {permission} permission", headers)


def bare(status: int, text: str, headers: Mapping[str, str] | None = None) -> RefusedError:
    """An error of the servlet container (404, 401, a missing crumb): without X-Jenkins."""
    return RefusedError(_html(status, f"HTTP ERROR {status} {text}", "iso-8859-1", dict(headers or {})))


def not_found() -> RefusedError:
    """A missing job, build, item or page; never JSON."""
    return bare(404, "Not Found")


def starting() -> web.Response:
    """Until the home directory is read: 503 without X-Jenkins."""
    return _html(503, "Please wait while Jenkins is getting ready to work ...", "utf-8", {})


def redirect(location: str) -> web.Response:
    """What a form's button gives: 302."""
    return web.Response(status=302, headers={"Location": location})


def created(location: str) -> web.Response:
    """201 with the address of the queue item."""
    return web.Response(status=201, headers={"Location": location})


def empty(status: int = 200) -> web.Response:
    """Nothing to say."""
    return web.Response(status=status)


def _html(status: int, text: str, charset: str, headers: Mapping[str, str]) -> web.Response:
    body = f"<!DOCTYPE html><html><head><title>Jenkins</title></head><body><h2>{html.escape(text)}</h2></body></html>\n"
    return web.Response(
        status=status,
        body=body.encode(charset, "replace"),
        headers={"Content-Type": f"text/html;charset={charset}", "X-Content-Type-Options": "nosniff", **headers},
    )
