"""Who is asking: roles by token (bearer or basic), compared in constant time; loopback only without any tokens."""

import base64
import binascii
import hmac
from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha256

from aiohttp import web
from pydantic import SecretStr

from shuttle.errors import ForbiddenError, UnauthorizedError
from shuttle.web import Handler, Role

LegacyRule = Callable[[web.Request], Awaitable[bool]]

_ROLES = {"controller": Role.CONTROLLER, "reader": Role.READER}


class Gate:
    """Decides by the Authorization header alone."""

    def __init__(self, tokens: Sequence[tuple[str, SecretStr]], *, legacy_anonymous: bool = False) -> None:
        # Digests are of one length, so comparing them tells nothing about the length of a token.
        self._legacy_anonymous = legacy_anonymous
        self._tokens = [(_digest(token.get_secret_value()), _ROLES[role]) for role, token in tokens]

    def guard(self, handler: Handler, needed: Role, is_legacy: LegacyRule | None = None) -> Handler:
        """The handler, for callers whose role suffices, and those of the older API who may come without any."""
        if needed in {Role.ANYBODY, Role.AGENT}:
            return handler

        async def guarded(request: web.Request) -> web.StreamResponse:
            if is_legacy is None or not await self._opens_to(request, is_legacy):
                self.check(request, needed)
            return await handler(request)

        return guarded

    async def _opens_to(self, request: web.Request, is_legacy: LegacyRule) -> bool:
        if not self._legacy_anonymous or "Authorization" in request.headers or not await is_legacy(request):
            return False
        _refuse_other_sites(request)
        return True

    def admits(self, request: web.Request, needed: Role) -> bool:
        """Whether `check` raises nothing."""
        try:
            self.check(request, needed)
        except (UnauthorizedError, ForbiddenError):
            return False
        return True

    def check(self, request: web.Request, needed: Role) -> None:
        """Raises UnauthorizedError (401) without good credentials, ForbiddenError (403) with too small a role."""
        if not self._tokens:
            _refuse_other_sites(request)
            return
        role = self._role_of(request.headers.get("Authorization", ""))
        if role is None:
            raise UnauthorizedError(
                "Send one of the service's tokens, as a bearer token or as the password of basic authentication.",
                headers={"WWW-Authenticate": 'Bearer realm="build shuttle", Basic realm="build shuttle"'},
            )
        if role < needed:
            raise ForbiddenError("This token may only read; use a controller's token.")

    def _role_of(self, authorization: str) -> Role | None:
        presented = _digest(token_in(authorization))
        role = None
        for digest, its_role in self._tokens:
            if hmac.compare_digest(digest, presented):
                role = its_role
        return role


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


def _refuse_other_sites(request: web.Request) -> None:
    """Without tokens, a page of another site in the operator's browser could reach us on loopback; browsers say so."""
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        raise ForbiddenError("Pages of other sites may not use this service; set SHUTTLE_TOKENS to allow clients.")
