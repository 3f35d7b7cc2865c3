"""The secrets of a request: the values that its log must not show."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from shuttle.errors import InvalidRequestError
from shuttle.outgoing.hooks import credentials_of
from shuttle.outgoing.userinfo import split_userinfo
from shuttle.request.model import BuildRequest
from shuttle.settings import Settings

# Shorter ones would hide half of an ordinary log (docs/contract.md, "Masking").
MIN_MASKED_BYTES = 6
# Shorter strings in a JSON document are more likely words like "project" than secrets.
MIN_DOCUMENT_STRING_BYTES = 8
# The cost of searching a log for secrets grows with both.
_MAX_SECRETS = 1000
_MAX_SECRETS_BYTES = 1024 * 1024


def secrets_of(request: BuildRequest, settings: Settings) -> tuple[str, ...]:
    """All values to mask, without duplicates: passwords in URLs, and users without a password (both percent-decoded),
    values in a source's query, header values, secret arguments, and the operator's registry passwords, which the agent
    gets, too.

    The result at acceptance is recorded with the build: a log is a pure function of what is recorded.
    """
    values = [value for _, value in _named_secrets(request)]
    values += request.source.secret_spellings()
    # If an argument is a URL with a password, programs are more likely to log the password than the whole URL.
    arguments = request.secret_values()
    values += [credentials.secret for _, argument in arguments if (credentials := split_userinfo(argument)[1])]
    values += [password.get_secret_value() for _, password in settings.extra_docker_registry_config.values()]
    return tuple(dict.fromkeys(value for value in values if value))


def unmasked_secrets(request: BuildRequest) -> tuple[str, ...]:
    """The names of the fields whose secrets are too short to be masked."""
    short = (name for name, value in _named_secrets(request) if 0 < len(value.encode()) < MIN_MASKED_BYTES)
    return tuple(dict.fromkeys(short))


def check_secrets(request: BuildRequest) -> None:
    """Refuse more secrets than a log can be searched for; each string of a JSON document counts as one.

    Raises:
        InvalidRequestError: names the field of the first secret above the limit.
    """
    count = size_bytes = 0
    for name, value in _given_secrets(request):
        field = "secret_arguments" if name.startswith("arguments.") else name
        size_bytes += len(value.encode(errors="surrogatepass"))
        if size_bytes > _MAX_SECRETS_BYTES:
            message = f"Shorten the secrets of the request: together they may have at most {_MAX_SECRETS_BYTES} bytes."
            raise InvalidRequestError(message, field=field)
        count += 1 + len(document_strings(value))
        if count > _MAX_SECRETS:
            kinds = "passwords, header values, secret arguments and the strings of JSON in them"
            message = f"Give at most {_MAX_SECRETS} secrets: {kinds}."
            raise InvalidRequestError(message, field=field)


def _named_secrets(request: BuildRequest) -> Iterator[tuple[str, str]]:
    for name, value in _given_secrets(request):
        yield name, value
        if "headers." in name:
            # `Bearer abc`: a log is more likely to show the token than the whole value.
            yield name, value.partition(" ")[2]


def _given_secrets(request: BuildRequest) -> Iterator[tuple[str, str]]:
    yield from request.source.secrets()
    if request.destination is not None and request.destination.credentials is not None:
        yield "destination", request.destination.credentials.secret
    for kind, hooks in (("status", request.status_hooks), ("logs", request.log_hooks)):
        for index, hook in enumerate(hooks):
            name = f"webhooks.{kind}[{index}]"
            for credentials in credentials_of(hook.url):
                yield name, credentials.secret
            for header, value in hook.headers.items():
                yield f"{name}.headers.{header}", value
    for name, value in request.secret_values():
        yield f"arguments.{name}", value


def document_strings(secret: str) -> tuple[str, ...]:
    """The strings in a secret that is a JSON document, because each may be printed alone; none for other secrets."""
    if secret.lstrip()[:1] not in {"{", "["}:
        return ()
    try:
        document = json.loads(secret)
    except (ValueError, RecursionError):
        return ()
    strings: dict[str, None] = {}
    layer = [document]
    while layer:
        strings.update(
            (each, None)
            for each in layer
            if isinstance(each, str) and len(each.encode(errors="surrogatepass")) >= MIN_DOCUMENT_STRING_BYTES
        )
        layer = [child for each in layer for child in _children(each)]
    return tuple(strings)


def _children(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
