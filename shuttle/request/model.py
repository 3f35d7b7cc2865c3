"""The checked build request with its defaults; it is recorded as JSON and read back."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from shuttle.outgoing.hooks import Hook
from shuttle.outgoing.image import Image
from shuttle.sources.catalogue import recorded_fields, recorded_source
from shuttle.sources.kind import RequestedPipeline, Source

# These options mean the same in every pipeline that has them. The agent gets `variables` in files of their own, apart
# from the other options, and does not get `secret_variables`.
VARIABLE_OPTIONS = ("variables", "secret_variables")


class PipelineKind(RequestedPipeline, Protocol):
    """A pipeline of the catalogue as requests see it."""

    @property
    def Options(self) -> type[BaseModel]:  # noqa: N802 - it is a class
        """The model of its options; unknown ones are refused."""

    @property
    def needs_destination(self) -> bool:
        """Whether it pushes an image."""

    @property
    def accepts_platforms(self) -> bool:
        """Whether it can run once for each platform of a build."""


class Platform(BaseModel):
    """A platform for which the build runs once, in a branch; its arguments replace the build's of the same names."""

    model_config = ConfigDict(frozen=True)

    name: str
    arguments: dict[str, str] = Field(default_factory=dict, repr=False)


class AutoResume(BaseModel):
    """How long after its failure the build resumes by itself, and how many automatic resumes are left."""

    model_config = ConfigDict(frozen=True)

    after_seconds: float
    attempts: int

    def after_one(self) -> "AutoResume | None":
        """What is left after one more resume."""
        return AutoResume(after_seconds=self.after_seconds, attempts=self.attempts - 1) if self.attempts > 1 else None


class BuildRequest(BaseModel):
    """A checked build request. It has secrets (URLs, header values, arguments) and is recorded only encrypted.

    `checksum` is the source's SHA-256 in lower-case hex; `arguments` are those of the request, `effective_arguments`
    include EXTRA_BUILD_ARGS at the time of acceptance; `metadata_json` is compact ASCII JSON, `null` if the request has
    none.
    """

    model_config = ConfigDict(frozen=True)

    source: SerializeAsAny[Source]
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
    options: dict[str, Any] = Field(repr=False)
    timeout_seconds: float
    labels: dict[str, str]
    platforms: tuple[Platform, ...] = Field((), exclude_if=lambda platforms: not platforms)
    auto_resume: AutoResume | None = Field(None, exclude_if=lambda auto_resume: auto_resume is None)

    @model_validator(mode="before")
    @classmethod
    def _with_recorded_source(cls, fields: dict[str, Any]) -> dict[str, Any]:
        return fields if "source" in fields else {**fields, "source": recorded_source(fields)}

    @model_serializer(mode="wrap")
    def _record(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = serialize(self)
        return recorded_fields(fields.pop("source")) | fields

    @property
    def destinations(self) -> tuple[str, ...]:
        """The references to push, without credentials; the one with the destination's own tag is first."""
        if self.destination is None:
            return ()
        references = (self.destination.reference, *(self.destination.tagged(tag) for tag in self.destination_tags))
        return tuple(dict.fromkeys(references))

    @property
    def variables(self) -> dict[str, str]:
        """The variables for a tool of the pipeline, which reads them from a file; they are in no environment."""
        variables: dict[str, str] | None = self.options.get("variables")
        return variables or {}

    def secret_values(self) -> Iterator[tuple[str, str]]:
        """Names and values of the secret arguments, those of each platform, and the secret variables."""
        every = (self.effective_arguments, *(platform.arguments for platform in self.platforms))
        for name in self.secret_arguments:
            yield from ((name, arguments[name]) for arguments in every if name in arguments)
        yield from ((name, self.variables[name]) for name in self.options.get("secret_variables") or ())


class Resumed(BaseModel):
    """The build that a new one resumes, and the state code at which the new one continues.

    `platforms` has the same for each platform that is built again. `automatic`: no call asked for the resume,
    but `auto_resume` of the failed build did. `recorded`: further fields of the call, which only lists of the requests
    show; they are in the build's column `record`, not in the plan.
    """

    model_config = ConfigDict(frozen=True)

    build_uuid: str
    build_id: str
    state_code: int
    platforms: dict[str, "Resumed"] = Field(default_factory=dict, exclude_if=lambda platforms: not platforms)
    automatic: bool = Field(False, exclude_if=lambda automatic: not automatic)
    recorded: dict[str, Any] = Field(default_factory=dict, exclude=True, repr=False)


@dataclass(frozen=True, slots=True)
class PackerRun:
    """A run of a request to packer over REST, counted from 0. `fields`: the fields of the request that answers show."""

    request_id: str
    run: int
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """The request, the paths of its unknown fields, and the sentences for the header Shuttle-Warnings.

    `left_secrets`: the values of the sensitive variables of the build that is resumed; the new log masks them.
    """

    request: BuildRequest
    ignored_fields: tuple[str, ...]
    warnings: tuple[str, ...]
    resumes: Resumed | None = None
    packer_run: PackerRun | None = None
    left_secrets: tuple[str, ...] = field(default=(), repr=False)


Pipelines = Mapping[str, PipelineKind]
