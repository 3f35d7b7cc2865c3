"""Parsers for the values of settings; each ValueError says what to write and never quotes the value."""

import json
import re
from base64 import b64decode
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from math import inf
from typing import Any

from shuttle.settings.hosts import check_hosts
from shuttle.standing import TokenRole

Network = IPv4Network | IPv6Network

# 1.8e308 is the largest double.
_MAX_DIGITS = 309
# 16 random hexadecimal digits are 64 bits, too many to be guessed over HTTP.
_MIN_TOKEN_CHARACTERS = 16
# The Standard Webhooks specification requires 24 to 64 bytes.
_MIN_WEBHOOK_KEY_BYTES = 24
# No header can hold a line break or a NUL. A space is more likely a missing comma: the text after it would be part of
# the token.
_NO_TOKEN_TEXT = re.compile(r"[\s\x00-\x20\x7f-\x9f]")
_FERNET_KEY = re.compile(r"[A-Za-z0-9_\-+/]{43}=")
_ARGUMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# NUL, which no environment variable can hold, and lone surrogates, which UTF-8 cannot.
_NO_ARGUMENT_TEXT = re.compile(r"[\x00\ud800-\udfff]")


def comma_list(text: str) -> tuple[str, ...]:
    """The parts between commas, without empty ones.

    A text of commas alone is refused: an empty list of tokens or keys would mean that none are needed.
    """
    parts = tuple(part.strip() for part in text.split(",") if part.strip())
    if not parts and text.strip():
        raise ValueError("write at least one entry between the commas, or leave it empty")
    return parts


def read_optional(text: str) -> str | None:
    """The text; None if it is empty."""
    return text or None


def read_networks(text: str) -> tuple[Network, ...]:
    """The networks and addresses between commas."""
    try:
        return tuple(ip_network(part, strict=False) for part in comma_list(text))
    except ValueError:  # its text quotes the value
        raise ValueError("write networks like 10.0.0.0/8 and addresses, comma-separated") from None


def read_delays(text: str) -> tuple[float, ...]:
    """The numbers of seconds between commas."""
    try:
        return tuple(float(part) for part in comma_list(text))
    except ValueError:  # its text quotes the value
        raise ValueError("write seconds, comma-separated, like 0,5,15") from None


def read_hosts(text: str) -> tuple[str, ...]:
    """The entries `host[:port]` between commas."""
    hosts = comma_list(text)
    check_hosts(hosts)
    return hosts


def check_list_of_hosts(text: str) -> str:
    """The unchanged text; raises ValueError unless it lists hosts."""
    read_hosts(text)
    return text


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
        if _NO_TOKEN_TEXT.search(token):
            raise ValueError("write tokens without spaces and control characters, and commas between the pairs")
        pairs.append((TokenRole(role), token))
    if len({token for _, token in pairs}) < len(set(pairs)):
        raise ValueError("give each role a token of its own: a token cannot have two roles")
    return tuple(pairs)


def check_hook_secret(text: str) -> None:
    """Raises ValueError for a secret that can be guessed, or that GitLab could not send: it is sent as a header."""
    if text and (len(text) < _MIN_TOKEN_CHARACTERS or not text.isascii() or _NO_TOKEN_TEXT.search(text)):
        raise ValueError(
            f"write at least {_MIN_TOKEN_CHARACTERS} characters of ASCII without spaces, as `openssl rand -hex 32`"
            " prints them"
        )


def read_build_args(text: str) -> dict[str, str]:
    """The arguments in a JSON object, as strings; those that no build could get (see `shuttle.request`) are refused."""
    arguments = _json_object(text)
    if any(value in {inf, -inf} for value in arguments.values() if isinstance(value, float)):
        raise ValueError("write numbers within the range of a double")
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in arguments.items()}
    if not all(_ARGUMENT_NAME.fullmatch(name) for name in texts):
        raise ValueError("name arguments with letters, digits and _, not beginning with a digit")
    if any(_NO_ARGUMENT_TEXT.search(value) for value in texts.values()):
        raise ValueError("write values without NUL characters and lone surrogates")
    return texts


def credentials_by_host(text: str) -> dict[str, tuple[Any, Any]]:
    """(user, password) by `host[:port]` of a registry or Kafka, from `{"host": {"username": …, "password": …}}`."""
    hosts = _json_object(text)
    if not all(isinstance(entry, dict) and {"username", "password"} <= set(entry) for entry in hosts.values()):
        raise ValueError('write {"host.example.com": {"username": "…", "password": "…"}}')
    check_hosts(hosts)
    return {host: (entry["username"], entry["password"]) for host, entry in hosts.items()}


def _json_object(text: str) -> dict[str, Any]:
    if not text.strip():
        return {}
    try:
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number, parse_int=_integer)
    except json.JSONDecodeError as error:  # its message has nothing of the text, which may contain secrets
        raise ValueError(f"write a JSON object: {error.msg} at character {error.pos + 1}") from None
    except RecursionError:
        raise ValueError("write a JSON object that is nested less deeply") from None
    if not isinstance(value, dict):
        raise ValueError("write a JSON object")  # noqa: TRY004 - pydantic collects ValueErrors
    return value


def _integer(text: str) -> int:
    """The number; Python converts at most 4,300 digits, and a larger number than a double is no use here."""
    if len(text) > _MAX_DIGITS:
        raise ValueError("write numbers within the range of a double")
    return int(text)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these members; JSON does not say which one counts if a name is repeated."""
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("write each name once")
    return members


def _no_number(_: str) -> float:
    raise ValueError("write numbers, not NaN or Infinity")


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
    elif url and (not url.removeprefix("sqlite:///").strip("/") or "?" in url):
        raise ValueError("write the path of a file after sqlite:///, without parameters")


def check_server_url(url: str) -> None:
    """Raises ValueError unless the URL is empty, or one of PostgreSQL."""
    if url and not is_postgres(url):
        raise ValueError("write postgresql://USER:PASSWORD@HOST:PORT/DATABASE, or leave it empty")
    check_database_url(url)


def is_postgres(url: str) -> bool:
    """Whether the URL names a PostgreSQL server, in either of libpq's spellings."""
    return url.startswith(("postgresql://", "postgres://"))


def check_encryption_keys(keys: Iterable[str]) -> None:
    """Refuse what is not one Fernet key: Fernet's own check ignores spaces, line breaks and all that follows `=`."""
    if not all(_FERNET_KEY.fullmatch(key) for key in keys):
        raise ValueError("write Fernet keys, comma-separated (.env.example shows how to make one)")


def read_webhook_keys(text: str) -> tuple[bytes, ...]:
    """The keys in `whsec_<base64>`, comma-separated; an empty tuple if the setting is empty."""
    return tuple(_read_webhook_key(secret) for secret in comma_list(text))


def check_webhook_keys(text: str) -> None:
    """Raises ValueError unless `read_webhook_keys` can read the text."""
    try:
        read_webhook_keys(text)
    except ValueError:
        raise ValueError(
            f"write whsec_ and the base64 of at least {_MIN_WEBHOOK_KEY_BYTES} bytes,"
            " as `openssl rand -base64 32` prints it; several are separated by commas"
        ) from None


def _read_webhook_key(secret: str) -> bytes:
    encoded = secret.removeprefix("whsec_")
    key = b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    if len(key) < _MIN_WEBHOOK_KEY_BYTES:
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
