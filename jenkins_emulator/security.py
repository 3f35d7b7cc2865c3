"""Authentication by API token or password, anonymous callers, and crumbs of sessions."""

import base64
import binascii
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field

from aiohttp import web

from jenkins_emulator.answers import Answers, RefusedError, bare
from jenkins_emulator.permissions import ADMINISTRATOR, SHUTTLE_USER

CRUMB_FIELD = "Jenkins-Crumb"


@dataclass(frozen=True)
class Account:
    """A user: an API token, a password or both."""

    name: str
    token: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    permissions: frozenset[str] = SHUTTLE_USER


@dataclass(frozen=True)
class Principal:
    """The caller; `name` is None for anonymous, `needs_crumb` is False with an API token."""

    name: str | None
    permissions: frozenset[str]
    needs_crumb: bool

    @property
    def is_anonymous(self) -> bool:
        """Whether the caller is not authenticated, whatever its permissions."""
        return self.name is None

    def may(self, permission: str) -> bool:
        """Whether the permission is granted."""
        return permission in self.permissions


class Security:
    """Authenticates callers. Without accounts all permissions are granted, and a POST needs a crumb of its session."""

    def __init__(self, accounts: Iterable[Account], answers: Answers) -> None:
        """`answers` makes the responses for refused requests."""
        self._credentials: dict[tuple[str, str], Principal] = {}
        self._answers = answers
        for account in accounts:
            if account.token is not None:
                self._add(account, account.token, needs_crumb=False)
            if account.password is not None:
                self._add(account, account.password, needs_crumb=True)
        self.is_on = bool(self._credentials)
        # Sessions end with the server, as in a real Jenkins: the signing key is new at each start.
        self._key = secrets.token_bytes(32)
        plain = answers.generation.plain_session_cookie
        self._cookie_name = "JSESSIONID" if plain else f"JSESSIONID.{secrets.token_hex(4)}"
        self._cookie_attributes = "Path=/; HttpOnly; SameSite=Lax" if plain else "Path=/; HttpOnly"

    def _add(self, account: Account, secret: str, *, needs_crumb: bool) -> None:
        self._credentials[account.name, secret] = Principal(account.name, account.permissions, needs_crumb)

    def authenticate(self, request: web.Request) -> Principal:
        """The caller; raises a 401 for wrong credentials."""
        if not self.is_on:
            return Principal(None, ADMINISTRATOR, needs_crumb=True)
        header = request.headers.get("Authorization")
        if header is None:
            return Principal(None, frozenset(), needs_crumb=True)
        user, password = _basic(header)
        for (known_user, known_password), principal in self._credentials.items():
            if user == known_user and hmac.compare_digest(password.encode(), known_password.encode()):
                return principal
        raise self._answers.unauthorized(user)

    def check_crumb(self, request: web.Request, principal: Principal) -> None:
        """Raise a 403 if a POST needs a crumb and has no valid one for its session and user."""
        if not principal.needs_crumb:
            return
        session = self._session(request)
        given = request.headers.get(CRUMB_FIELD, "")
        if session is None or not hmac.compare_digest(given.encode(), self._crumb(session, principal).encode()):
            raise self.no_crumb()

    def no_crumb(self) -> RefusedError:
        """The 403 for a POST without a crumb."""
        return bare(403, "No valid crumb was included in the request")

    def issue_crumb(self, request: web.Request, principal: Principal) -> tuple[str, str | None]:
        """A crumb, and the Set-Cookie of a new session unless the request has one."""
        session = self._session(request)
        if session is not None:
            return self._crumb(session, principal), None
        number = secrets.token_hex(16)
        session = f"{number}.{self._sign(number)}"
        return self._crumb(session, principal), f"{self._cookie_name}={session}; {self._cookie_attributes}"

    def _session(self, request: web.Request) -> str | None:
        session = request.cookies.get(self._cookie_name, "")
        number, _, signature = session.partition(".")
        return session if hmac.compare_digest(signature.encode(), self._sign(number).encode()) else None

    def _crumb(self, session: str, principal: Principal) -> str:
        return self._sign(f"crumb {principal.name} {session}")

    def _sign(self, text: str) -> str:
        return hmac.new(self._key, text.encode(), "sha256").hexdigest()


def _basic(header: str) -> tuple[str, str]:
    scheme, _, encoded = header.partition(" ")
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        decoded = ""
    user, _, password = decoded.partition(":")
    return (user, password) if scheme.lower() == "basic" else ("", "")
