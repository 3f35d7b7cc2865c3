"""Checks a decoded body against docs/contract.md, "Requests". Each rule is checked where its field is read."""

import json
import re
from typing import Any

from pydantic import ValidationError

from shuttle.errors import InvalidRequestError
from shuttle.outgoing.connector import address_policy
from shuttle.outgoing.headers import check_headers
from shuttle.outgoing.hooks import parse_hooks
from shuttle.outgoing.image import Image, check_tag, parse_destination
from shuttle.request.arguments import read_arguments, read_secret_arguments
from shuttle.request.body import compact_json
from shuttle.request.model import AutoResume, BuildRequest, ParsedRequest, PipelineKind, Pipelines
from shuttle.request.numbers import as_written
from shuttle.request.platforms import read_platforms, unknown_in_platforms
from shuttle.request.secrets import check_secrets, unmasked_secrets
from shuttle.request.shape import AutoResume as GivenAutoResume
from shuttle.request.shape import Destination, Webhooks, read_shape, refuse, unknown_fields
from shuttle.settings import Settings
from shuttle.sources.catalogue import read_source
from shuttle.sources.kind import Source
from shuttle.storable import is_storable

DEFAULT_PIPELINE = "docker-image"

_MAX_METADATA_BYTES = 64 * 1024
_MAX_TEXT_BYTES = 64 * 1024
# Builds are listed by this label, and databases limit the length of an indexed text. The build state API has the same
# limit.
_MAX_PLATFORM_CHARACTERS = 128
# Each tag is a push of its own.
_MAX_TAGS = 100
_RESUMED_AFTER_SECONDS = 3600
_RESUMED_TIMES = 1

_READABLE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_CHECKSUM = re.compile(r"sha256:([0-9A-Fa-f]{64})")


def parse_build_request(value: Any, settings: Settings, pipelines: Pipelines) -> ParsedRequest:
    """Check the value from `decode_json`; an optional field that is null counts as absent.

    Raises:
        InvalidRequestError: the first invalid field, named by its path (`webhooks.status[1].url`).
    """
    body = read_shape(value)
    ignored = list(unknown_fields(body))
    kind, options = _read_pipeline(body.pipeline, pipelines, ignored)
    source = read_source(body.source.url, kind).with_checkout(
        body.source.subdir, body.source.submodules, with_git=options.get("git") is True
    )
    destination, tags = _read_destination(body.destination, kind)
    webhooks, policy = body.webhooks or Webhooks(), address_policy(settings)
    status_hooks, unknown_in_status = parse_hooks(_entries(webhooks.status), "webhooks.status", policy)
    log_hooks, unknown_in_logs = parse_hooks(_entries(webhooks.logs), "webhooks.logs", policy)
    arguments = read_arguments(body.arguments or {})
    effective_arguments = settings.extra_build_args | arguments
    platforms = read_platforms(body.platforms, kind, effective_arguments)
    ignored += unknown_in_platforms(body.platforms)
    names = {*effective_arguments, *(name for platform in platforms for name in platform.arguments)}
    request = BuildRequest(
        source=_with_headers(source, body.source.headers),
        checksum=_read_checksum(body.source.checksum, source),
        destination=destination,
        destination_tags=tags,
        status_hooks=status_hooks,
        log_hooks=log_hooks,
        metadata_json=_read_metadata(body.metadata),
        human_readable_info=_read_info(body.human_readable_info),
        arguments=arguments,
        effective_arguments=effective_arguments,
        secret_arguments=read_secret_arguments(body.secret_arguments or [], names),
        pipeline=kind.name,
        options=options,
        timeout_seconds=_read_timeout(body.timeout_seconds, settings),
        labels=_read_labels(body.labels or {}),
        platforms=platforms,
        auto_resume=_read_auto_resume(body.auto_resume),
    )
    check_secrets(request)
    warnings = tuple(
        f"{name} is shorter than 6 bytes and is not masked in the log." for name in unmasked_secrets(request)
    )
    return ParsedRequest(request, (*ignored, *unknown_in_status, *unknown_in_logs), warnings)


def _entries(hooks: Any) -> Any:
    return [] if hooks is None else hooks


def _read_pipeline(value: Any, pipelines: Pipelines, ignored: list[str]) -> tuple[PipelineKind, dict[str, Any]]:
    """The pipeline and its checked options; `value` is a name, or an object with a name and options.

    Unknown fields of the object are added to `ignored`.
    """
    choice = value if isinstance(value, dict) else {"name": DEFAULT_PIPELINE if value is None else value}
    where = "pipeline.name" if isinstance(value, dict) else "pipeline"
    name = choice.get("name")
    if not isinstance(name, str):
        raise InvalidRequestError('Write the pipeline as a name or as {"name": …, "options": {…}}.', field=where)
    kind = pipelines.get(name)
    if kind is None:
        raise InvalidRequestError(f"Choose one of these pipelines: {', '.join(sorted(pipelines))}.", field=where)
    ignored.extend(f"pipeline.{key}" for key in choice if key not in {"name", "options"})
    options = choice.get("options")
    try:
        checked = kind.Options.model_validate({} if options is None else options, strict=True)
    except ValidationError as error:
        refuse(error, "pipeline.options")
    return kind, checked.model_dump(mode="json")


def _with_headers(source: Source, headers: Any) -> Source:
    return source if headers is None else source.with_headers(check_headers(headers, "source.headers"))


def _read_checksum(text: str | None, source: Source) -> str | None:
    if text is None:
        return None
    if source.checksum_refusal is not None:
        raise InvalidRequestError(f"Leave the checksum out: {source.checksum_refusal}.", field="source.checksum")
    match = _CHECKSUM.fullmatch(text)
    if match is None:
        raise InvalidRequestError("Write the checksum as sha256: and 64 hex digits.", field="source.checksum")
    return match[1].lower()


def _read_destination(destination: Destination | None, kind: PipelineKind) -> tuple[Image | None, tuple[str, ...]]:
    if destination is None:
        if kind.needs_destination:
            raise InvalidRequestError(
                f"Add destination.image; the pipeline {kind.name} pushes to it.", field="destination.image"
            )
        return None, ()
    url, image = destination.url, destination.image
    if url is not None and image is not None and url != image:
        raise InvalidRequestError(
            "Give either destination.image or destination.url, not both.", field="destination.url"
        )
    tags = destination.tags or []
    if len(tags) > _MAX_TAGS:
        raise InvalidRequestError(f"Name at most {_MAX_TAGS} tags.", field="destination.tags")
    for index, tag in enumerate(tags):
        check_tag(tag, f"destination.tags[{index}]")
    if image is not None:
        return parse_destination(image, "destination.image"), tuple(tags)
    if url is not None:
        return parse_destination(url, "destination.url"), tuple(tags)
    raise InvalidRequestError("Add the image to push, as docker://host/org/repo[:tag].", field="destination.image")


def _read_metadata(value: Any) -> str:
    metadata_json = compact_json(value)
    if len(metadata_json) > _MAX_METADATA_BYTES:
        # The limit applies to the UTF-8 that a caller sends; the escaped form that is stored may be longer.
        text = as_written(value, _READABLE)
        if len(text.encode("utf-8", "surrogatepass")) > _MAX_METADATA_BYTES:
            raise InvalidRequestError(
                f"Shorten the metadata: as compact JSON it may have at most {_MAX_METADATA_BYTES} bytes.",
                field="metadata",
            )
    return metadata_json


def _read_timeout(value: Any, settings: Settings) -> float:
    if value is None:
        return settings.timeout_seconds
    longest = settings.shuttle_max_timeout_seconds
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 1 <= value <= longest:
        raise InvalidRequestError(f"Write a number of seconds from 1 to {longest:g}.", field="timeout_seconds")
    return float(value)


def _read_auto_resume(given: GivenAutoResume | None) -> AutoResume | None:
    """Set the defaults of absent fields; `read_shape` has checked the limits."""
    if given is None:
        return None
    after_seconds = _RESUMED_AFTER_SECONDS if given.after_seconds is None else given.after_seconds
    return AutoResume(after_seconds=after_seconds, attempts=given.attempts or _RESUMED_TIMES)


def _read_info(text: str | None) -> str | None:
    if text is not None:
        check_text(text, "human_readable_info")
    return text


def _read_labels(labels: dict[str, str]) -> dict[str, str]:
    for name, text in labels.items():
        check_text(name, "labels")
        check_text(text, f"labels.{name}")
    if sum(len(name.encode()) + len(text.encode()) for name, text in labels.items()) > _MAX_TEXT_BYTES:
        raise InvalidRequestError(
            f"Shorten the labels: together they may have at most {_MAX_TEXT_BYTES} bytes.", field="labels"
        )
    if len(labels.get("platform", "")) > _MAX_PLATFORM_CHARACTERS:
        raise InvalidRequestError(
            f"Shorten the platform: its name may have at most {_MAX_PLATFORM_CHARACTERS} characters.",
            field="labels.platform",
        )
    return labels


def check_text(text: str, name: str) -> None:
    """Limit the size of a text, because lists of builds show it; refuse what databases and XML cannot hold."""
    if not is_storable(text):
        raise InvalidRequestError("Write the text without NUL characters and lone surrogates.", field=name)
    if len(text.encode()) > _MAX_TEXT_BYTES:
        raise InvalidRequestError(f"Shorten the text: it may have at most {_MAX_TEXT_BYTES} bytes.", field=name)
