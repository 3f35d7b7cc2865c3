"""A request as it was understood: checked, with its defaults, and able to be recorded as JSON and read back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

from shuttle.outgoing.hooks import Hook
from shuttle.request.image import Image


class PipelineKind(Protocol):
    """What a request can ask of a pipeline of the catalogue."""

    @property
    def name(self) -> str:
        """The name that requests use."""

    @property
    def Options(self) -> type[BaseModel]:  # noqa: N802 - it is a class
        """The model of its options; unknown ones are refused."""

    @property
    def needs_destination(self) -> bool:
        """It pushes an image."""

    @property
    def accepts_image_source(self) -> bool:
        """A docker:// source makes sense to it."""


class BuildRequest(BaseModel):
    """What a build is to do. Secrets are in it (URLs, header values, arguments): it is recorded encrypted only.

    `source_object` is the uuid, as written, of the earlier build whose stored source is meant. `checksum` is lower-case
    hex of SHA-256; `arguments` are the request's own, `effective_arguments` include EXTRA_BUILD_ARGS as of acceptance;
    `metadata_json` is compact ASCII JSON, `null` without.
    """

    model_config = ConfigDict(frozen=True)

    source_url: str = Field(repr=False)
    source_headers: dict[str, str] = Field(default_factory=dict, repr=False)
    source_object: str | None = None
    source_image: Image | None
    checksum: str | None
    destination: Image | None
    destination_tags: tuple[str, ...]
    status_hooks: tuple[Hook, ...]
    log_hooks: tuple[Hook, ...]
    metadata_json: str
    human_readable_info: str | None
    arguments: dict[str, str] = Field(repr=False)
    effective_arguments: dict[str, str] = Field(repr=False)
    secret_arguments: tuple[str, ...]
    pipeline: str
    options: dict[str, Any]
    timeout_seconds: float
    labels: dict[str, str]

    @property
    def destinations(self) -> tuple[str, ...]:
        """The references to push, without credentials, the destination's own tag first."""
        if self.destination is None:
            return ()
        references = (self.destination.reference, *(self.destination.tagged(tag) for tag in self.destination_tags))
        return tuple(dict.fromkeys(references))


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """The request, the paths of the fields that nothing reads, and sentences for the answer's Shuttle-Warnings."""

    request: BuildRequest
    ignored_fields: tuple[str, ...]
    warnings: tuple[str, ...]


Pipelines = Mapping[str, PipelineKind]
