"""The first step of every pipeline: the build is ours to do, or nothing happens."""

from jenkins_pipelines.fragment import Fragment
from jenkins_pipelines.models import Parameter, Stage
from jenkins_pipelines.shell_scripts import step

PARAMETERS = (
    Parameter(name="BUILD_UUID", description="The build; also the marker by which it is found again."),
    Parameter(name="SHUTTLE_URL", description="The shuttle's base URL as the agent sees it."),
    Parameter(name="SHUTTLE_TOKEN", kind="password", description="Opens this one build, for its time."),
)


def claim() -> Fragment:
    """Claim the build by Jenkins' number: a doubled trigger or a replay is refused before it did anything."""
    return Fragment(parameters=PARAMETERS, stages=(Stage(name="claim", steps=(step("ask_shuttle", "claim"),)),))
