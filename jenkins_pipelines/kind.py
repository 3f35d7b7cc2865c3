"""A kind of pipeline: what a request may say about it, and how it is made."""

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from jenkins_pipelines.models import Pipeline


class PipelineOptions(BaseModel):
    """The `options` of a request's `pipeline`; each kind has its own. Unknown ones are refused.

    What a caller writes here reaches the agent as data (`AgentEnvironment.options`), never as Groovy or shell text.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineKind:
    """`needs_destination`: it pushes an image. `accepts_image_source`: a docker:// source makes sense to it."""

    name: str
    description: str
    Options: type[PipelineOptions]
    needs_destination: bool
    accepts_image_source: bool
    build: Callable[[PipelineOptions], Pipeline]
