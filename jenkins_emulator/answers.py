"""Jenkins' responses with the headers for each status; the texts of pages are shorter than in a real Jenkins."""

import html
import json
import secrets
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from jenkins_emulator.generations import Generation


class RefusedError(Exception):
    """Ends the handling of a request with `response`."""

    def __init__(self, response: web.Response) -> None:
        super().__init__(f"{response.status}")
        self.response = response


class Answers:
    """The responses of one server run: X-Jenkins-Session changes at each start, as in a real Jenkins."""

    def __init__(self, generation: Generation) -> None:
        """Make a new X-Jenkins-Session."""
        self.generation = generation
        self.session_mark = secrets.token_hex(4)

    @property
    def _identity(self) -> dict[str, str]:
        return {"X-Jenkins": self.generation.version, "X-Jenkins-Session": self.session_mark}

    def json(self, value: Any) -> web.Response:
        """A response of the API, with X-Jenkins."""
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        return web.Response(text=text, content_type="application/json", charset="utf-8", headers=self._identity)

    def page(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> web.Response:
        """A page rendered by Jenkins, with X-Hudson and X-Jenkins."""
        shown = {"X-Hudson": "1.395", **self._identity, **(headers or {})}
        return _html(status, text, "utf-8", shown)

    def refused(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> RefusedError:
        """An error page rendered by Jenkins (500, 405, 409, bad names …)."""
        return RefusedError(self.page(status, text, headers))

    def bare(self, status: int, text: str, *, names_version: bool) -> RefusedError:
        """An error whose page has X-Jenkins only in one generation."""
        return self.refused(status, text) if names_version else bare(status, text)

    def not_found(self) -> RefusedError:
        """404 for a missing job, build, item or page; never JSON."""
        return self.bare(404, "Not Found", names_version=self.generation.not_found_names_version)

    def starting(self, *, is_read: bool) -> web.Response:
        """503 until the home directory has been read."""
        text = "Please wait while Jenkins is getting ready to work ..."
        if self.generation.starting_post_names_version and not is_read:
            return self.page(503, text)
        return _html(503, text, "utf-8", {})

    def unauthorized(self, user: str) -> RefusedError:
        """401 for wrong credentials."""
        text = f"Invalid password/token for user: {user}"
        return bare(401, text, {"WWW-Authenticate": self.generation.challenge})

    def forbidden(self, user: str | None, permission: str) -> RefusedError:
        """403 for a missing permission."""
        name = user or "anonymous"
        headers = {"X-You-Are-Authenticated-As": name, "X-Required-Permission": permission}
        return self.refused(403, f"{name} is missing the {permission} permission", headers)


def bare(status: int, text: str, headers: Mapping[str, str] | None = None) -> RefusedError:
    """An error of the servlet container (401, a missing crumb): without X-Jenkins."""
    return RefusedError(_html(status, f"HTTP ERROR {status} {text}", "iso-8859-1", dict(headers or {})))


def redirect(location: str) -> web.Response:
    """302, the response to a form's button."""
    return web.Response(status=302, headers={"Location": location})


def created(location: str, status: int = 201) -> web.Response:
    """201 with the address of the queue item; 303 if the item was already waiting."""
    return web.Response(status=status, headers={"Location": location})


def empty(status: int = 200) -> web.Response:
    """A response without a body."""
    return web.Response(status=status)


def _html(status: int, text: str, charset: str, headers: Mapping[str, str]) -> web.Response:
    body = f"<!DOCTYPE html><html><head><title>Jenkins</title></head><body><h2>{html.escape(text)}</h2></body></html>\n"
    return web.Response(
        status=status,
        body=body.encode(charset, "replace"),
        headers={"Content-Type": f"text/html;charset={charset}", "X-Content-Type-Options": "nosniff", **headers},
    )
