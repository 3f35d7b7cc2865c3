"""Hook URLs: where a request wants its statuses and its log to be sent, parsed and checked before acceptance."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from shuttle.errors import InvalidRequestError
from shuttle.outgoing.addresses import check_length, read_address
from shuttle.outgoing.headers import check_headers
from shuttle.outgoing.kafka_url import is_kafka, read_kafka_url
from shuttle.outgoing.userinfo import Credentials, split_userinfo

_FAILOVER = re.compile(r"failover:?\((.*)\)", re.DOTALL | re.IGNORECASE)
# Members are separated by a comma, optional spaces and the next scheme, so commas between Kafka hosts stay inside one.
# It is looked for where a run of spaces begins only: from each of n spaces, that would be n² steps.
_NEXT_MEMBER = re.compile(r"(?<! ) *, *(?=[A-Za-z][A-Za-z0-9+.\-]*(?:://|:?\())")

# One request of 64 MiB could otherwise make the shuttle knock at a million doors.
_MAX_HOSTS = 100


@dataclass(frozen=True, slots=True)
class Hook:
    """One receiver as the caller named it; `url` still holds its userinfo, header values are secrets."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


def parse_hooks(value: Any, name: str) -> tuple[tuple[Hook, ...], list[str]]:
    """The receivers of `webhooks.status` or `webhooks.logs` (`name`): one entry, or an array of them.

    Returns the hooks, and the paths of the fields in them that nothing reads.

    Raises:
        InvalidRequestError: an entry is wrong; its field names it, like `webhooks.logs[1].headers.X-Y`.
    """
    ignored: list[str] = []
    left = _MAX_HOSTS
    hooks = []
    for where, entry in _entries(value, name):
        hook = _parse_entry(entry, where, ignored)
        left -= sum(_host_count(member) for member in members_of(hook.url))
        if left < 0:
            raise InvalidRequestError(f"Name at most {_MAX_HOSTS} hosts, of all receivers together.", field=name)
        hooks.append(hook)
    return tuple(hooks), ignored


def _entries(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, list):
        yield name, value
        return
    for index, entry in enumerate(value):
        yield f"{name}[{index}]", entry


def _parse_entry(entry: Any, name: str, ignored: list[str]) -> Hook:
    if isinstance(entry, str):
        check_hook_url(entry, name)
        return Hook(entry)
    if not isinstance(entry, dict):
        raise InvalidRequestError('Write a URL, or {"url": …, "headers": {…}}.', field=name)
    url = entry.get("url")
    if not isinstance(url, str):
        raise InvalidRequestError("Name the receiver with a URL.", field=f"{name}.url")
    check_hook_url(url, f"{name}.url")
    ignored.extend(f"{name}.{key}" for key in entry if key not in {"url", "headers"})
    headers = entry.get("headers")
    hook = Hook(url, {} if headers is None else check_headers(headers, f"{name}.headers"))
    if hook.headers and not any(_is_http(member) for member in members_of(url)):
        raise InvalidRequestError("Leave the headers out: Kafka receives none of them.", field=f"{name}.headers")
    if any(key.lower() == "authorization" for key in hook.headers) and any(
        _is_http(member) and split_userinfo(member)[1] is not None for member in members_of(url)
    ):
        raise InvalidRequestError(
            "Give the receiver's credentials once: in the URL or in an Authorization header.",
            field=f"{name}.headers.Authorization",
        )
    return hook


def check_hook_url(url: str, name: str) -> None:
    """Accept an http(s) or Kafka URL, or a failover of them; say what is wrong with anything else.

    Raises:
        InvalidRequestError: the URL is wrong; of a failover the message names the member by its place.
    """
    check_length(url, name)
    if is_failover(url):
        _check_failover(url, name)
    elif is_kafka(url):
        read_kafka_url(url, name)
    elif _is_http(url):
        read_address(url, name)
    else:
        raise InvalidRequestError("Write an http, https or kafka URL with a host, or failover(…) of them.", field=name)


def is_failover(url: str) -> bool:
    """Whether this is a list of URLs instead of one."""
    return url[:8].lower() == "failover"


def members_of(url: str) -> tuple[str, ...]:
    """The URLs of a failover in their order; a plain URL is its own only member."""
    parts = _FAILOVER.fullmatch(url)
    return tuple(_NEXT_MEMBER.split(parts[1].strip(" "))) if parts is not None else (url,)


def kind_of(url: str) -> str:
    """`http`, `kafka` or `failover`, of a URL that `check_hook_url` takes."""
    if is_failover(url):
        return "failover"
    return "kafka" if is_kafka(url) else "http"


def shown_host(url: str) -> str:
    """`host[:port]` of a hook, of each host of each member; without credentials, path and query."""
    return ", ".join(urlsplit(member).netloc.rpartition("@")[2] for member in members_of(url))


def credentials_of(url: str) -> Iterator[Credentials]:
    """What the userinfo of each member says."""
    for member in members_of(url):
        credentials = split_userinfo(member)[1]
        if credentials is not None:
            yield credentials


def _host_count(member: str) -> int:
    return shown_host(member).count(",") + 1 if is_kafka(member) else 1


def _is_http(url: str) -> bool:
    return url[:8].lower().startswith(("http://", "https://"))


def _check_failover(url: str, name: str) -> None:
    if _FAILOVER.fullmatch(url) is None:
        raise InvalidRequestError("Write failover(url, url, …) with a closing parenthesis at the end.", field=name)
    for place, member in enumerate(members_of(url), start=1):
        # The comma of an empty member stays at the end of the one before it.
        is_followed_by_none = member.endswith(",")
        try:
            _check_member("" if is_followed_by_none else member, name)
        except InvalidRequestError as error:
            where = place + is_followed_by_none
            raise InvalidRequestError(f"Member {where} of failover(…): {error.message}", field=name) from None


def _check_member(member: str, name: str) -> None:
    if not member.strip(" "):
        raise InvalidRequestError("Write a URL between every two commas.", field=name)
    if is_failover(member):
        raise InvalidRequestError("Write the members without another failover in them.", field=name)
    if not (is_kafka(member) or _is_http(member)):
        raise InvalidRequestError("Write an http, https or kafka URL.", field=name)
    check_hook_url(member, name)
