"""Who asks: API token, password, reader or nobody; crumbs that belong to a session."""

import base64
import binascii
import hmac
import secrets
from dataclasses import dataclass

from aiohttp import web

from shuttle.embedded.jenkins.answers import RefusedError, bare

CRUMB_FIELD = "Jenkins-Crumb"


@dataclass(frozen=True)
class Principal:
    """`name` is None for nobody; `needs_crumb` is False with an API token."""

    name: str | None
    may_write: bool
    needs_crumb: bool

    @property
    def is_anonymous(self) -> bool:
        """Nobody, with or without rights."""
        return self.name is None


class Security:
    """Without `user` everybody may do everything, and every POST needs a crumb with its session."""

    def __init__(self, user: str | None, token: str | None, password: str | None, reader_token: str | None) -> None:
        """`reader_token`: the token of a second user, `reader`, who may only look."""
        self.is_on = user is not None
        self._credentials: dict[tuple[str, str], Principal] = {}
        if user is not None and token is not None:
            self._credentials[user, token] = Principal(user, may_write=True, needs_crumb=False)
        if user is not None and password is not None:
            self._credentials[user, password] = Principal(user, may_write=True, needs_crumb=True)
        if user is not None and reader_token is not None:
            self._credentials["reader", reader_token] = Principal("reader", may_write=False, needs_crumb=False)
        # Sessions end with the server, as there: what they are signed with is made anew.
        self._key = secrets.token_bytes(32)
        self._cookie_name = f"JSESSIONID.{secrets.token_hex(4)}"

    def authenticate(self, request: web.Request) -> Principal:
        """The caller; a 401 for wrong credentials."""
        if not self.is_on:
            return Principal(None, may_write=True, needs_crumb=True)
        header = request.headers.get("Authorization")
        if header is None:
            return Principal(None, may_write=False, needs_crumb=True)
        user, password = _basic(header)
        for (known_user, known_password), principal in self._credentials.items():
            if user == known_user and hmac.compare_digest(password.encode(), known_password.encode()):
                return principal
        raise bare(401, f"Invalid password/token for user: {user}", {"WWW-Authenticate": 'Basic realm="Jenkins"'})

    def check_crumb(self, request: web.Request, principal: Principal) -> None:
        """A 403 when a POST needs a crumb and has none that fits its session and user."""
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
        return self._crumb(session, principal), f"{self._cookie_name}={session}; Path=/; HttpOnly"

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
