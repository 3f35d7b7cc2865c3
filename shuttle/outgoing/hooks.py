"""Parses and checks hooks: the URLs to which a request wants its statuses and its log to be sent."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from shuttle.errors import InvalidRequestError
from shuttle.outgoing.connector import AddressPolicy
from shuttle.outgoing.endpoints import EndpointKind
from shuttle.outgoing.headers import check_headers
from shuttle.outgoing.kafka_url import read_kafka_url
from shuttle.outgoing.literal_hosts import check_literal_host
from shuttle.outgoing.urls import check_length, named, split_url
from shuttle.outgoing.userinfo import Credentials, split_userinfo

_FAILOVER = re.compile(r"failover:?\((.*)\)", re.DOTALL | re.IGNORECASE)
# Members are separated by a comma, optional spaces and the next scheme, so commas between Kafka hosts do not separate.
# The match may only start where a run of spaces begins: tried from each of n spaces, it would take n² steps.
_NEXT_MEMBER = re.compile(r"(?<! ) *, *(?=[A-Za-z][A-Za-z0-9+.\-]*(?:://|:?\())")

# Without a limit, one request of 64 MiB could make the shuttle connect to a million hosts.
_MAX_HOSTS = 100


@dataclass(frozen=True, slots=True)
class HookKind:
    """A kind of receiver, known by the scheme of its URLs.

    `check` gets a URL and the name of its field, and returns the URL's hosts. It raises InvalidRequestError if the URL
    cannot be used.
    `headers_refusal` says why a hook with headers is refused; None = it may have some.
    """

    name: EndpointKind
    schemes: tuple[str, ...]
    check: Callable[[str, str], Sequence[str]]
    headers_refusal: str | None = None


def _http_hosts(url: str, name: str) -> Sequence[str]:
    return (split_url(url, name).host,)


def _kafka_hosts(url: str, name: str) -> Sequence[str]:
    return [host for host, _ in read_kafka_url(url, name).hosts]


_KINDS = (
    HookKind(EndpointKind.HTTP, ("http", "https"), _http_hosts),
    HookKind(EndpointKind.KAFKA, ("kafka", "kafka+ssl"), _kafka_hosts, "Kafka receives none of them"),
)
_KIND_BY_SCHEME = {scheme: kind for kind in _KINDS for scheme in kind.schemes}


@dataclass(frozen=True, slots=True)
class Hook:
    """A receiver as the caller named it. `url` includes the userinfo; header values are secrets."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


def parse_hooks(value: Any, name: str, policy: AddressPolicy | None = None) -> tuple[tuple[Hook, ...], list[str]]:
    """Parse the value of `webhooks.status` or `webhooks.logs` (`name`): one entry, or an array of them.

    Returns the hooks, and the paths of the fields that are ignored. Hosts that are written as addresses are checked by
    `policy`; None = the addresses are checked only when statuses and logs are sent.

    Raises:
        InvalidRequestError: an entry is invalid; the error's field names it, like `webhooks.logs[1].headers.X-Y`.
    """
    ignored: list[str] = []
    left = _MAX_HOSTS
    hooks = []
    for where, entry in _entries(value, name):
        hook = _parse_entry(entry, where, policy, ignored)
        left -= shown_host(hook.url).count(",") + 1
        if left < 0:
            raise InvalidRequestError(
                f"Name at most {_MAX_HOSTS} hosts in {name}, including all hosts of failovers and of Kafka.", field=name
            )
        hooks.append(hook)
    return tuple(hooks), ignored


def _entries(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, list):
        yield name, value
        return
    for index, entry in enumerate(value):
        yield f"{name}[{index}]", entry


def _parse_entry(entry: Any, name: str, policy: AddressPolicy | None, ignored: list[str]) -> Hook:
    if isinstance(entry, str):
        check_hook_url(entry, name, policy)
        return Hook(entry)
    if not isinstance(entry, dict):
        raise InvalidRequestError('Write a URL, or {"url": …, "headers": {…}}.', field=name)
    url = entry.get("url")
    if not isinstance(url, str):
        raise InvalidRequestError("Name the receiver with a URL.", field=f"{name}.url")
    check_hook_url(url, f"{name}.url", policy)
    ignored.extend(f"{name}.{key}" for key in entry if key not in {"url", "headers"})
    headers = entry.get("headers")
    hook = Hook(url, {} if headers is None else check_headers(headers, f"{name}.headers"))
    takers = [member for member in members_of(url) if _kind(member).headers_refusal is None]
    if hook.headers and not takers:
        refusal = _kind(members_of(url)[0]).headers_refusal
        raise InvalidRequestError(f"Leave the headers out: {refusal}.", field=f"{name}.headers")
    if any(key.lower() == "authorization" for key in hook.headers) and any(
        split_userinfo(member)[1] is not None for member in takers
    ):
        raise InvalidRequestError(
            "Give the receiver's credentials once: in the URL or in an Authorization header.",
            field=f"{name}.headers.Authorization",
        )
    return hook


def check_hook_url(url: str, name: str, policy: AddressPolicy | None = None) -> None:
    """Accept a URL of one of the kinds, or a failover of them. `policy`: see `parse_hooks`.

    Raises:
        InvalidRequestError: the URL is invalid; the message about a failover has the number of the invalid member.
    """
    check_length(url, name)
    if is_failover(url):
        _check_failover(url, name, policy)
        return
    kind = _KIND_BY_SCHEME.get(_scheme(url))
    if kind is None:
        raise InvalidRequestError(
            f"Write an {named(_KIND_BY_SCHEME)} URL with a host, or failover(…) of them.", field=name
        )
    hosts = kind.check(url, name)
    if policy is not None:
        for host in hosts:
            check_literal_host(host, name, policy)


def is_failover(url: str) -> bool:
    """Whether `url` is a `failover(…)` list of URLs."""
    return url[:8].lower() == "failover"


def members_of(url: str) -> tuple[str, ...]:
    """The URLs of a failover in order; the only member of any other URL is the URL itself."""
    parts = _FAILOVER.fullmatch(url)
    return tuple(_NEXT_MEMBER.split(parts[1].strip(" "))) if parts is not None else (url,)


def kind_of(url: str) -> EndpointKind:
    """The kind of the endpoint with a URL that `check_hook_url` accepts."""
    return EndpointKind.FAILOVER if is_failover(url) else _kind(url).name


def shown_host(url: str) -> str:
    """`host[:port]` of every host of every member, for display: without credentials, path and query."""
    return ", ".join(urlsplit(member).netloc.rpartition("@")[2] for member in members_of(url))


def credentials_of(url: str) -> Iterator[Credentials]:
    """The credentials in the userinfo of each member."""
    for member in members_of(url):
        credentials = split_userinfo(member)[1]
        if credentials is not None:
            yield credentials


def _kind(url: str) -> HookKind:
    return _KIND_BY_SCHEME[_scheme(url)]


def _scheme(url: str) -> str:
    """The scheme in lower case, as schemes ignore case (RFC 3986, 3.1). Without `://`, the whole URL."""
    return url.partition("://")[0].lower()


def _check_failover(url: str, name: str, policy: AddressPolicy | None) -> None:
    if _FAILOVER.fullmatch(url) is None:
        raise InvalidRequestError("Write failover(url, url, …) with a closing parenthesis at the end.", field=name)
    for number, member in enumerate(members_of(url), start=1):
        # The split leaves the comma before an empty member at the end of the member before it.
        next_is_empty = member.endswith(",")
        try:
            _check_member("" if next_is_empty else member, name, policy)
        except InvalidRequestError as error:
            wrong = number + next_is_empty
            raise InvalidRequestError(f"Member {wrong} of failover(…): {error.message}", field=name) from None


def _check_member(member: str, name: str, policy: AddressPolicy | None) -> None:
    if not member.strip(" "):
        raise InvalidRequestError("Write a URL between every two commas.", field=name)
    if is_failover(member):
        raise InvalidRequestError("Write the members without another failover in them.", field=name)
    if _scheme(member) not in _KIND_BY_SCHEME:
        raise InvalidRequestError(f"Write an {named(_KIND_BY_SCHEME)} URL.", field=name)
    check_hook_url(member, name, policy)
