"""The checked build request with its defaults; it is recorded as JSON and read back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

from shuttle.outgoing.hooks import Hook
from shuttle.outgoing.image import Image


class PipelineKind(Protocol):
    """A pipeline of the catalogue as requests see it."""

    @property
    def name(self) -> str:
        """The name that requests use."""

    @property
    def Options(self) -> type[BaseModel]:  # noqa: N802 - it is a class
        """The model of its options; unknown ones are refused."""

    @property
    def needs_destination(self) -> bool:
        """Whether it pushes an image."""

    @property
    def accepts_image_source(self) -> bool:
        """Whether it accepts a docker:// source."""


class BuildRequest(BaseModel):
    """A checked build request. It has secrets (URLs, header values, arguments) and is recorded only encrypted.

    `source_object` is the uuid, as written, of the earlier build whose stored source is used. `checksum` is the SHA-256
    in lower-case hex; `arguments` are those of the request, `effective_arguments` include EXTRA_BUILD_ARGS at the time
    of acceptance; `metadata_json` is compact ASCII JSON, `null` if the request has none.
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
        """The references to push, without credentials; the one with the destination's own tag is first."""
        if self.destination is None:
            return ()
        references = (self.destination.reference, *(self.destination.tagged(tag) for tag in self.destination_tags))
        return tuple(dict.fromkeys(references))


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """The request, the paths of its unknown fields, and the sentences for the header Shuttle-Warnings."""

    request: BuildRequest
    ignored_fields: tuple[str, ...]
    warnings: tuple[str, ...]


Pipelines = Mapping[str, PipelineKind]
