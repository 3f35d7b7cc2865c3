"""The end, whatever it is: say why, and leave nothing behind."""

from jenkins_pipelines.fragment import Fragment
from jenkins_pipelines.shell_scripts import step


def finish() -> Fragment:
    """Report the reason that a step wrote down, then remove credentials, arguments and source from the agent."""
    return Fragment(always=(step("ask_shuttle", "json", "finish"),))
