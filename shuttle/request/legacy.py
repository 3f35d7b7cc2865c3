"""Checks a request of the older API and makes it a build request (docs/contract.md, "The older API").

The older API's build number is the build's id; responses and messages show it as it was given.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urlsplit

from shuttle.errors import InvalidRequestError, LegacyRefusalError
from shuttle.outgoing.hooks import Hook, parse_hooks
from shuttle.outgoing.image import Image, parse_destination
from shuttle.outgoing.kafka_url import read_kafka_url
from shuttle.outgoing.urls import split_url
from shuttle.outgoing.userinfo import Credentials, split_userinfo
from shuttle.request.ids import APP_UUID, UUID, check_id
from shuttle.request.legacy_arguments import read_legacy_arguments, secret_names
from shuttle.request.legacy_auth import read_registry_auth
from shuttle.request.legacy_shape import INVALID_UUID, MISSING_FIELDS, LegacyBody, read_legacy_shape
from shuttle.request.model import BuildRequest, ParsedRequest, PipelineKind
from shuttle.request.parse import check_text
from shuttle.request.secrets import check_secrets, unmasked_secrets
from shuttle.settings import Settings
from shuttle.sources.catalogue import read_source
from shuttle.sources.kind import Source
from shuttle.sources.kinds.earlier_build import EarlierSource
from shuttle.sources.kinds.image import ImageSource

_NUMBER = re.compile(r"[0-9]{1,15}")
# One of the service's own names may have no scheme, and then stands for http and https. So their default ports and a
# missing port count as the same.
_DEFAULT_PORTS = frozenset({None, 80, 443})

# The older API's names of the fields that can have secrets.
_LEGACY_NAMES = {
    "source.url": "sources",
    "destination": "gm_registry_auth",
    "webhooks.status[0]": "callback",
    "webhooks.status[0].headers.Authorization": "callback_auth",
    "secret_arguments": "build_args",
}


@dataclass(frozen=True, slots=True)
class LegacyRequest:
    """The request except for its number. `number_given` is the JSON value of `build_number`, None if there is none."""

    build_uuid: str
    app_id: str
    number_given: int | str | None
    request: BuildRequest = field(repr=False)
    repository: Image = field(repr=False)
    ignored_fields: tuple[str, ...]

    def numbered(self, number: int | str) -> ParsedRequest:
        """The complete request with its number, which the caller or the service chose."""
        request = self.request.model_copy(
            update={
                "destination": replace(self.repository, tag=f"1.{number}"),
                "destination_tags": ("latest",),
                "metadata_json": json.dumps(number),
            }
        )
        short = (_LEGACY_NAMES.get(name, name) for name in unmasked_secrets(request))
        warnings = tuple(f"{name} is shorter than 6 bytes and is not masked in the log." for name in short)
        return ParsedRequest(request, self.ignored_fields, warnings)


def read_legacy_request(
    value: Any, settings: Settings, pipeline: PipelineKind, own_names: Sequence[str]
) -> LegacyRequest:
    """Check the value from `decode_json`; `own_names` are the base URLs and hosts at which this service is reached.

    Raises:
        LegacyRefusalError: a required field or the registry is missing, or the build's uuid is invalid; the message is
            that of the old shuttle.
        InvalidRequestError: any other invalid field, by its name.
    """
    body = read_legacy_shape(value)
    host = body.gm_registry_host or settings.docker_registry_host
    repo = body.gm_registry_repo or settings.docker_repo
    if not host or not repo.strip("/"):
        raise LegacyRefusalError(MISSING_FIELDS)
    if not UUID.fullmatch(body.build_uuid):
        raise LegacyRefusalError(INVALID_UUID)
    if not APP_UUID.fullmatch(body.app_uuid):
        raise InvalidRequestError("Write app_uuid as a UUID: 32 hexadecimal digits.", field="app_uuid")
    app_id = check_id("app", f"{body.app}-{body.app_uuid}")
    arguments = read_legacy_arguments(body.model_dump(include={"build_args", "build_opts", "build_options"}))
    effective_arguments = settings.extra_build_args | arguments
    source = _read_sources(body, pipeline, own_names)
    labels = {"app": body.app, "space": body.space, "build_uuid": body.build_uuid, "app_uuid": body.app_uuid}
    for name, text in labels.items():
        check_text(text, name)
    request = BuildRequest(
        source=source,
        checksum=None,
        destination=None,
        destination_tags=(),
        status_hooks=_read_callback(body),
        log_hooks=_read_kafka(body, settings),
        metadata_json="null",
        human_readable_info=_info(body),
        arguments=arguments,
        effective_arguments=effective_arguments,
        secret_arguments=secret_names(effective_arguments),
        pipeline=pipeline.name,
        options=pipeline.Options().model_dump(mode="json"),
        timeout_seconds=settings.timeout_seconds,
        labels=labels,
    )
    _check_secrets(request)
    repository = _read_repository(host, repo, app_id, body.gm_registry_auth)
    number_given = _read_number(body.build_number)
    ignored = tuple(body.model_extra or ())
    return LegacyRequest(body.build_uuid.lower(), app_id, number_given, request, repository, ignored)


def _check_secrets(request: BuildRequest) -> None:
    try:
        check_secrets(request)
    except InvalidRequestError as error:
        raise InvalidRequestError(error.message, field=_LEGACY_NAMES.get(error.field or "", error.field)) from None


def _read_number(value: Any) -> int | str | None:
    """A whole number as a number or as digits; None if it is absent, null or empty: then the service chooses one."""
    if value is None or value == "":
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (int, str)) or not _NUMBER.fullmatch(str(value)):
        raise InvalidRequestError("Write build_number as a whole number of up to 15 digits.", field="build_number")
    return value


def _read_repository(host: str, repo: str, app_id: str, auth: Any) -> Image:
    """`<host>/<repo>/<app>-<app_uuid>` in lower case, as registries require."""
    # Quoted first, so that the grammar of images sees valid URL paths only.
    path = quote(f"{repo.strip('/')}/{app_id}".lower().encode("utf-8", "surrogatepass"), safe="/:@._~-")
    try:
        image = parse_destination(f"docker://{host.rpartition('://')[2].rstrip('/')}/{path}", "gm_registry_host")
    except InvalidRequestError as error:
        message = f"gm_registry_host, gm_registry_repo and app do not give a valid image name. {error.message}"
        raise InvalidRequestError(message, field="gm_registry_host") from None
    if image.tag is not None:
        raise InvalidRequestError("Write gm_registry_repo without a tag.", field="gm_registry_repo")
    return replace(image, credentials=read_registry_auth(auth) or image.credentials)


def _read_sources(body: LegacyBody, pipeline: PipelineKind, own_names: Sequence[str]) -> Source:
    rebuilt = _rebuilt_uuid(body.sources, own_names)
    if rebuilt is not None:
        return EarlierSource.of(body.sources, rebuilt)
    try:
        source = read_source(body.sources, pipeline)
    except InvalidRequestError as error:
        raise type(error)(error.message, field="sources") from None
    if isinstance(source, ImageSource) and body.docker_login:
        return source.with_credentials(_docker_credentials(body))
    return source


def _docker_credentials(body: LegacyBody) -> Credentials:
    """The credentials of a docker:// source; docker_login and docker_password take precedence over the userinfo.

    An existing client copies both from the userinfo without percent-decoding them; then the decoded userinfo is used.
    """
    login, password = body.docker_login or "", body.docker_password or ""
    credentials = split_userinfo(body.sources)[1]
    written = (split_url(body.sources, "sources").userinfo or "").partition(":")
    if credentials is not None and (written[0], written[2]) == (login, password):
        return credentials
    return Credentials(login, password)


def _rebuilt_uuid(url: str, own_names: Sequence[str]) -> str | None:
    """The uuid in `<shuttle>/<build_uuid>`, if `<shuttle>` is one of `own_names`, with any scheme and userinfo."""
    if url[:8].lower().startswith(("http://", "https://")) and len(url) < 2048:
        parts = split_url(url, "sources")
        path, _, last = re.sub("/+", "/", unquote(parts.rest)).rstrip("/").rpartition("/")
        location = (parts.host.lower(), _explicit(parts.port), path)
        if UUID.fullmatch(last) and location in {_location(name) for name in own_names if name}:
            return last
    return None


def _location(name: str) -> tuple[str, int | None, str] | None:
    """Host, port (None = a default one) and path of a base URL or of `host[:port]`."""
    try:
        parts: SplitResult = urlsplit(name if "://" in name else f"http://{name}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return None
    return f"[{host}]" if ":" in host else host, _explicit(port), parts.path.rstrip("/")


def _explicit(port: int | None) -> int | None:
    return None if port in _DEFAULT_PORTS else port


def _read_callback(body: LegacyBody) -> tuple[Hook, ...]:
    if not body.callback:
        return ()
    if not body.callback.lower().startswith(("http://", "https://")):
        raise InvalidRequestError("Write callback as an http or https URL.", field="callback")
    url, headers = body.callback, {}
    if body.callback_auth:
        # The header is sent verbatim and replaces the one that the URL's userinfo would give.
        split_url(url, "callback")
        url, headers = split_userinfo(url)[0], {"Authorization": body.callback_auth}
    try:
        # Without an address policy: a build runs even if its callback and its Kafka hosts cannot be reached.
        return parse_hooks([{"url": url, "headers": headers}], "callback")[0]
    except InvalidRequestError as error:
        field_name = "callback_auth" if "headers" in (error.field or "") else "callback"
        raise InvalidRequestError(error.message, field=field_name) from None


def _read_kafka(body: LegacyBody, settings: Settings) -> tuple[Hook, ...]:
    hosts = body.kafka_hosts or settings.kafka_hosts
    if not hosts.strip(" ,"):
        return ()
    url = f"kafka://{','.join(host.strip() for host in hosts.split(',') if host.strip())}/{settings.kafka_topic}"
    read_kafka_url(url, "kafka_hosts")
    return parse_hooks(url, "kafka_hosts")[0]


def _info(body: LegacyBody) -> str | None:
    """The description of the source for lists: repository, branch and commit, as far as they are given."""
    words = [word for word in (body.repo, body.branch, body.sha) if isinstance(word, str) and word]
    text = " ".join(words)[:1000]
    check_text(text, "repo")
    return text or None
