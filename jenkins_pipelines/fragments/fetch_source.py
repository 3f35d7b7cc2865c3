"""What the build needs on the agent: its environment (arguments, credentials) and its source tree."""

from jenkins_pipelines.fragment import Fragment
from jenkins_pipelines.models import Stage
from jenkins_pipelines.shell_scripts import step


def fetch_source() -> Fragment:
    """Fetch `environment` and, unless the source is an image, `source.tar.gz`; unpack both."""
    return Fragment(stages=(Stage(name="fetch", steps=(step("ask_shuttle", "fail", "fetch"),)),))
