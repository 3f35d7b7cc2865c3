"""A kind of pipeline: its options in requests, and the function that builds it."""

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from jenkins_pipelines.models import Pipeline


class PipelineOptions(BaseModel):
    """The `options` of a request's `pipeline`; each kind has its own. Unknown options are refused.

    Their values reach the agent as data (`AgentEnvironment.options`), never as Groovy or shell text.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineKind:
    """One kind. `needs_destination`: it pushes an image. `accepts_image_source`: it accepts a docker:// source."""

    name: str
    description: str
    Options: type[PipelineOptions]
    needs_destination: bool
    accepts_image_source: bool
    build: Callable[[PipelineOptions], Pipeline]
