"""Who is asking: roles by token (bearer or basic), compared in constant time; without any tokens, who may ask."""

import base64
import binascii
import hmac
from collections.abc import Sequence
from hashlib import sha256

from aiohttp import web
from pydantic import SecretStr

from shuttle.errors import CHALLENGE, ForbiddenError, ShuttleError, UnauthorizedError
from shuttle.standing import Standing
from shuttle.web import STANDING, Handler, Role
from shuttle.web.sites import Sites

_STANDINGS = {"controller": Standing.CONTROLLER, "reader": Standing.READER}
_NEEDED = {Role.CONTROLLER: Standing.CONTROLLER, Role.READER: Standing.READER}


class Gate:
    """Finds a caller's standing by the Authorization header alone; browsers also have to be on a page of ours."""

    def __init__(self, tokens: Sequence[tuple[str, SecretStr]], sites: Sites, *, legacy_anonymous: bool) -> None:
        self._sites = sites
        # Digests are of one length, so comparing them tells nothing about the length of a token.
        self._legacy_anonymous = legacy_anonymous
        self._tokens = [(_digest(token.get_secret_value()), _STANDINGS[role]) for role, token in tokens]

    def guard(self, handler: Handler, role: Role, *, open_to_anonymous: bool = False) -> Handler:
        """The handler, for callers whose standing suffices; it finds that in `request[STANDING]`."""
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

        Raises UnauthorizedError (401) without good credentials, ForbiddenError (403) with too small a role or from a
        page of another site, InvalidRequestError (400) where Host is needed and is not there once.
        """
        if not self._tokens:
            self._sites.check_host(request)
            self._sites.check_origin(request, reading_too=True)
            return Standing.CONTROLLER
        if open_to_anonymous and self._legacy_anonymous and "Authorization" not in request.headers:
            self._sites.check_origin(request, reading_too=True)
            return Standing.ANONYMOUS
        authorization = request.headers.get("Authorization", "")
        standing = self._standing_of(authorization)
        if standing is None:
            raise UnauthorizedError(
                "Send one of the service's tokens, as a bearer token or as the password of basic authentication.",
                headers={"WWW-Authenticate": CHALLENGE},
            )
        if standing < needed:
            raise ForbiddenError("This token may only read; use a controller's token.")
        if authorization.strip().lower().startswith("basic"):
            # A browser that was given a token adds it to the requests of every page.
            self._sites.check_origin(request, reading_too=False)
        return standing

    def _standing_of(self, authorization: str) -> Standing | None:
        presented = _digest(token_in(authorization))
        standing = None
        for digest, its_standing in self._tokens:
            if hmac.compare_digest(digest, presented):
                standing = its_standing
        return standing


def token_in(authorization: str) -> str:
    """The token of an Authorization header, empty without one; basic: the password, or the user without one."""
    scheme, _, value = authorization.strip().partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(value.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return ""
        return password or user
    return ""


def is_token(authorization: str, token: str) -> bool:
    """Whether the header carries this very token."""
    return hmac.compare_digest(_digest(token_in(authorization)), _digest(token))


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogateescape")).digest()
