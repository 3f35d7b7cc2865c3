"""Parsers for the values of settings; each ValueError says what to write and never quotes the value."""

import json
import re
from base64 import b64decode
from ipaddress import ip_address
from typing import Any
from urllib.parse import SplitResult, urlsplit

from shuttle.standing import TokenRole

# 16 random hexadecimal digits are 64 bits, too many to be guessed over HTTP.
_MIN_TOKEN_CHARACTERS = 16
# The Standard Webhooks specification requires 24 to 64 bytes.
MIN_WEBHOOK_KEY_BYTES = 24
_ARGUMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# NUL, which no environment variable can hold, and lone surrogates, which UTF-8 cannot.
_NO_ARGUMENT_TEXT = re.compile(r"[\x00\ud800-\udfff]")


def comma_list(text: str) -> tuple[str, ...]:
    """The parts between commas, without empty ones."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def read_tokens(text: str) -> tuple[tuple[TokenRole, str], ...]:
    """The (role, token) pairs in `controller:<token>,reader:<token>`."""
    pairs = []
    for entry in comma_list(text):
        role, colon, token = entry.partition(":")
        if role not in set(TokenRole) or not colon or not token:
            raise ValueError(f"write role:token pairs, the role being {' or '.join(TokenRole)}")
        if len(token) < _MIN_TOKEN_CHARACTERS:
            raise ValueError(
                f"write tokens of at least {_MIN_TOKEN_CHARACTERS} characters, as `shuttle token new` makes them"
            )
        pairs.append((TokenRole(role), token))
    return tuple(pairs)


def read_build_args(text: str) -> dict[str, str]:
    """The arguments in a JSON object, as strings; those that no build could get (see `shuttle.request`) are refused."""
    arguments = _json_object(text)
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in arguments.items()}
    if not all(_ARGUMENT_NAME.fullmatch(name) for name in texts):
        raise ValueError("name arguments with letters, digits and _, not beginning with a digit")
    if any(_NO_ARGUMENT_TEXT.search(value) for value in texts.values()):
        raise ValueError("write values without NUL characters and lone surrogates")
    return texts


def credentials_by_host(text: str) -> dict[str, tuple[Any, Any]]:
    """(user, password) by registry or Kafka host, from `{"host": {"username": …, "password": …}}`."""
    hosts = _json_object(text)
    if not all(isinstance(entry, dict) and {"username", "password"} <= set(entry) for entry in hosts.values()):
        raise ValueError('write {"host.example.com": {"username": "…", "password": "…"}}')
    return {host: (entry["username"], entry["password"]) for host, entry in hosts.items()}


def _json_object(text: str) -> dict[str, Any]:
    value = json.loads(text) if text.strip() else {}
    if not isinstance(value, dict):
        raise ValueError("write a JSON object")  # noqa: TRY004 - pydantic collects ValueErrors
    return value


def read_jenkins_url(text: str) -> str:
    """The controller's base URL with a final slash."""
    if "," in text:
        raise ValueError("several controllers are not supported yet; name one")
    if not _is_base_url(text):
        raise ValueError("write http(s)://[user:api-token@]host[:port]/")
    return text.rstrip("/") + "/"


def read_public_url(text: str) -> str:
    """The service's base URL; a host without a scheme gets https, as in the old shuttle."""
    url = text if not text or "://" in text else f"https://{text}"
    if url and not _is_base_url(url):
        raise ValueError("write the base URL of this service as Jenkins sees it")
    return url.rstrip("/")


def _is_base_url(url: str) -> bool:
    try:
        parts: SplitResult = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # its text would quote the URL with the userinfo
        return False


def check_database_url(url: str) -> None:
    """Raises ValueError unless the URL is empty, or one of SQLite or PostgreSQL."""
    if is_postgres(url):
        import psycopg  # noqa: PLC0415 - costs 60 ms that a service on SQLite need not pay
        from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

        try:
            conninfo_to_dict(url)
        except psycopg.Error:  # its text quotes the value
            raise ValueError("write postgresql://USER:PASSWORD@HOST:PORT/DATABASE, special characters as %XX") from None
    elif url and not url.startswith("sqlite:///"):
        raise ValueError(
            "write postgresql://USER:PASSWORD@HOST/DATABASE or sqlite:///PATH,"
            " or leave it empty for a file in SHUTTLE_DATA_DIR"
        )


def is_postgres(url: str) -> bool:
    """Whether the URL names a PostgreSQL server, in either of libpq's spellings."""
    return url.startswith(("postgresql://", "postgres://"))


def read_webhook_keys(text: str) -> tuple[bytes, ...]:
    """The keys in `whsec_<base64>`, comma-separated; an empty tuple if the setting is empty."""
    secrets = comma_list(text)
    if text and not secrets:
        raise ValueError("no secret between the commas")
    return tuple(_read_webhook_key(secret) for secret in secrets)


def _read_webhook_key(secret: str) -> bytes:
    encoded = secret.removeprefix("whsec_")
    key = b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    if len(key) < MIN_WEBHOOK_KEY_BYTES:
        raise ValueError("a key that is too short")
    return key


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine can reach a socket bound to the host."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
