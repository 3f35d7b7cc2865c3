"""Authorization of callers: their standing by token, and refusal of requests that other sites' pages make."""

import base64
import hmac
from collections.abc import Sequence
from hashlib import sha256

from aiohttp import web
from pydantic import SecretStr

from shuttle.errors import CHALLENGE, ForbiddenError, ShuttleError, UnauthorizedError
from shuttle.standing import Standing, TokenRole
from shuttle.web import STANDING, Handler, Role
from shuttle.web.sites import Sites

_NEEDED = {Role.CONTROLLER: Standing.CONTROLLER, Role.READER: Standing.READER}


class Gate:
    """Finds a caller's standing from the Authorization header, and refuses requests that other sites' pages make."""

    def __init__(self, tokens: Sequence[tuple[TokenRole, SecretStr]], sites: Sites, *, legacy_anonymous: bool) -> None:
        self._sites = sites
        self._legacy_anonymous = legacy_anonymous
        # Digests have one length, so comparing them reveals nothing about the length of a token.
        self._tokens = [(_digest(token.get_secret_value()), role.standing) for role, token in tokens]

    def guard(self, handler: Handler, role: Role, *, open_to_anonymous: bool = False) -> Handler:
        """The handler, restricted to callers with the role; it reads their standing from `request[STANDING]`."""
        needed = _NEEDED.get(role)
        if needed is None:
            return handler

        async def guarded(request: web.Request) -> web.StreamResponse:
            request[STANDING] = self.check(request, needed, open_to_anonymous=open_to_anonymous)
            return await handler(request)

        return guarded

    def admits(self, request: web.Request, needed: Standing) -> bool:
        """Whether `check` raises nothing."""
        try:
            self.check(request, needed)
        except ShuttleError:
            return False
        return True

    def check(self, request: web.Request, needed: Standing, *, open_to_anonymous: bool = False) -> Standing:
        """The caller's standing.

        Raises UnauthorizedError (401) without valid credentials, ForbiddenError (403) if the role does not suffice or
        the request comes from another site's page, InvalidRequestError (400) if Host is needed but missing or repeated.
        """
        if self.is_open(request):
            return Standing.CONTROLLER
        if open_to_anonymous and self._legacy_anonymous and "Authorization" not in request.headers:
            self._sites.check_origin(request, reading_too=True)
            return Standing.ANONYMOUS
        authorization = request.headers.get("Authorization", "")
        standing = self.standing_of(token_in(authorization))
        if standing is None:
            raise UnauthorizedError(
                "Send one of the service's tokens, as a bearer token or as the password of basic authentication.",
                headers={"WWW-Authenticate": CHALLENGE},
            )
        if standing < needed:
            raise ForbiddenError("This token may only read; use a controller's token.")
        if authorization.strip().lower().startswith("basic"):
            # A browser that knows a token adds it to the requests of every page.
            self._sites.check_origin(request, reading_too=False)
        return standing

    def is_open(self, request: web.Request) -> bool:
        """Whether the service has no tokens, so that everybody is a controller, except other sites' pages.

        Raises ForbiddenError, InvalidRequestError: see `check`.
        """
        if self._tokens:
            return False
        self._sites.check_host(request)
        self._sites.check_origin(request, reading_too=True)
        return True

    def standing_of(self, token: str) -> Standing | None:
        """What a caller with this token may do; None if it is not one of the service's."""
        presented = _digest(token)
        standing = None
        for digest, its_standing in self._tokens:
            if hmac.compare_digest(digest, presented):
                standing = its_standing
        return standing


def token_in(authorization: str) -> str:
    """The token in an Authorization header, or "". With basic: the password, or the user if that is empty."""
    scheme, _, value = authorization.strip().partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(value.strip(), validate=True).decode().partition(":")
        except ValueError:  # it is not base64, not ASCII, or not UTF-8 when decoded
            return ""
        return password or user
    return ""


def is_token(authorization: str, token: str) -> bool:
    """Whether the header has exactly this token."""
    return hmac.compare_digest(_digest(token_in(authorization)), _digest(token))


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogateescape")).digest()
