"""A kind of pipeline: its options in requests, and the function that builds it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from jenkins_pipelines.models import Pipeline


class PipelineOptions(BaseModel):
    """The `options` of a request's `pipeline`; each kind has its own. Unknown options are refused.

    Their values reach the agent as data (`AgentEnvironment.options`), never as Groovy or shell text.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


class BuildPipeline(Protocol):
    """Builds the model of a pipeline."""

    def __call__(self, options: PipelineOptions, /, platforms: Sequence[str] = ()) -> Pipeline:
        """The model; with `platforms`, one that runs its steps in a branch for each of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineKind:
    """One kind. `needs_destination`: it pushes an image. `accepts_image_source`: it accepts a docker:// source.

    `accepts_platforms`: it can run once for each platform of a build. `takes_variables`: the agent gets the arguments
    as a file of variables, too. `reports_image`: its agent names the image that the build has made.
    """

    name: str
    description: str
    Options: type[PipelineOptions]
    needs_destination: bool
    accepts_image_source: bool
    build: BuildPipeline
    accepts_platforms: bool = False
    takes_variables: bool = False
    reports_image: bool = False
