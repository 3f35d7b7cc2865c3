"""The files that the user's build leaves in dist/."""

from jenkins_pipelines.fragment import Fragment
from jenkins_pipelines.models import Stage
from jenkins_pipelines.shell_scripts import step


def upload_artifacts() -> Fragment:
    """Upload every regular file under dist/ by its relative name, then report the names."""
    return Fragment(stages=(Stage(name="artifacts", steps=(step("ask_shuttle", "fail", "json", "upload_artifacts"),)),))
