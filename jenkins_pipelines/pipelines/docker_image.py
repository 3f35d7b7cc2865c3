"""`docker-image`, the default: build the source's Dockerfile, or copy an image, and push it."""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, Field

from jenkins_pipelines.fragment import combine
from jenkins_pipelines.fragments.supervised import supervised
from jenkins_pipelines.kind import PipelineKind, PipelineOptions
from jenkins_pipelines.models import Pipeline

_SCRIPTS = (
    *("links", "credentials", "builder", "dockerfile", "mounts", "image_options"),
    *("build_image", "copy_image", "push_image", "docker_image"),
)


def _within_the_source(path: str) -> str:
    if path.startswith("/") or ".." in PurePosixPath(path).parts or not path.isprintable():
        raise ValueError("must be a relative path within the source, without ..")
    return path


_Path = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_within_the_source)]


class DockerImageOptions(PipelineOptions):
    """Paths within the source.

    `context` is the folder for COPY and ADD, by default the whole source. `dockerfile` is by default `Dockerfile` in
    the context, else at the top of the source.
    """

    context: _Path = "."
    dockerfile: _Path | None = None


def build(_: PipelineOptions, /, platforms: Sequence[str] = ()) -> Pipeline:  # noqa: ARG001 - it accepts none
    """The pipeline's model. Options are read on the agent, so one job runs every build of an app."""
    return combine(KIND.name, KIND.description, supervised(*_SCRIPTS))


KIND = PipelineKind(
    name="docker-image",
    description="Builds the Dockerfile (or copies a docker:// source) and pushes the image to every destination.",
    Options=DockerImageOptions,
    needs_destination=True,
    accepts_image_source=True,
    build=build,
)
