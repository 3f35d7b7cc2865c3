"""`script`: run the source's ./build.sh (or make), and upload the files in dist/."""

from collections.abc import Sequence

from jenkins_pipelines.fragment import combine
from jenkins_pipelines.fragments.supervised import supervised
from jenkins_pipelines.kind import PipelineKind, PipelineOptions
from jenkins_pipelines.models import Pipeline


class ScriptOptions(PipelineOptions):
    """The script pipeline has no options."""


def build(_: PipelineOptions, /, platforms: Sequence[str] = ()) -> Pipeline:
    """The pipeline's model; it has a branch for each platform."""
    steps = supervised("links", "resume", "run_script", "uploads", "upload_artifacts", branches=platforms)
    return combine(KIND.name, KIND.description, steps)


KIND = PipelineKind(
    name="script",
    description="Runs ./build.sh or make with the arguments; files left in dist/ become artifacts.",
    Options=ScriptOptions,
    needs_destination=False,
    accepts_image_source=False,
    accepts_platforms=True,
    build=build,
)
