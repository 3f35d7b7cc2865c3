"""The credentials in a URL: `https://user:password@host/`, or `https://token@host/`."""

import base64
import re
from dataclasses import dataclass, field
from urllib.parse import unquote

# RFC 3986, 3.2: the authority ends at the first `/`, `?` or `#`; the userinfo ends at the last `@` in it.
_USERINFO = re.compile(r"^([A-Za-z][A-Za-z0-9+.\-]*://)([^/?#]*)@")
# At the beginning of any URL in a text: `failover(a, b)` has several URLs.
_ANY_USERINFO = re.compile(r"://[^/?#\s]*@")


@dataclass(frozen=True, slots=True)
class Credentials:
    """The percent-decoded userinfo of a URL. A token without a colon is the user, with an empty password."""

    user: str = field(repr=False)
    password: str = field(repr=False)

    @property
    def secret(self) -> str:
        """The password, or the user if there is no password, because that is a token."""
        return self.password or self.user


def split_userinfo(url: str) -> tuple[str, Credentials | None]:
    """The URL without its userinfo, and the credentials (None = there is no userinfo, or it is empty)."""
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
    """`url`, or any other text, for display: the userinfo of every URL in it is removed. Never raises."""
    return _ANY_USERINFO.sub("://", url)
