"""The credentials in a URL: `https://user:password@host/`, and `https://token@host/` for a sole token."""

import base64
import re
from dataclasses import dataclass, field
from urllib.parse import unquote

# RFC 3986, 3.2: the authority ends at the first `/`, `?` or `#`; the userinfo ends at the last `@` in it.
_USERINFO = re.compile(r"^([A-Za-z][A-Za-z0-9+.\-]*://)([^/?#]*)@")
# Wherever a URL begins in a text: `failover(a, b)` holds several, a Kafka URL several hosts behind one userinfo.
_ANY_USERINFO = re.compile(r"://[^/?#\s]*@")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a URL's userinfo says, percent-decoded; a sole token is the user, with an empty password."""

    user: str = field(repr=False)
    password: str = field(repr=False)


def split_userinfo(url: str) -> tuple[str, Credentials | None]:
    """The URL without its userinfo, and the credentials (None = there were none; an empty `@` is none)."""
    match = _USERINFO.match(url)
    if match is None:
        return url, None
    scheme, userinfo = match.groups()
    without = scheme + url[match.end() :]
    user, _, password = userinfo.partition(":")
    if not user and not password:
        return without, None
    return without, Credentials(unquote(user), unquote(password))


def basic_authorization(credentials: Credentials) -> str:
    """The value of an `Authorization` header (RFC 7617, UTF-8)."""
    pair = f"{credentials.user}:{credentials.password}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"


def without_userinfo(url: str) -> str:
    """For display: any text, with the userinfo of every URL in it left out. Never fails."""
    return _ANY_USERINFO.sub("://", url)
