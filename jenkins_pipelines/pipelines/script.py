"""`script`: run the source's ./build.sh (or make), and upload the files in dist/."""

from jenkins_pipelines.fragment import combine
from jenkins_pipelines.fragments.supervised import supervised
from jenkins_pipelines.kind import PipelineKind, PipelineOptions
from jenkins_pipelines.models import Pipeline


class ScriptOptions(PipelineOptions):
    """The script pipeline has no options."""


def build(_: PipelineOptions) -> Pipeline:
    """The pipeline's model."""
    return combine(KIND.name, KIND.description, supervised("links", "run_script", "upload_artifacts"))


KIND = PipelineKind(
    name="script",
    description="Runs ./build.sh or make with the arguments; files left in dist/ become artifacts.",
    Options=ScriptOptions,
    needs_destination=False,
    accepts_image_source=False,
    build=build,
)
