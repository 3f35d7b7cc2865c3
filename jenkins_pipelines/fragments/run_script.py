"""The user's own build: ./build.sh, or make."""

from jenkins_pipelines.fragment import Fragment
from jenkins_pipelines.models import Stage, WithEnv
from jenkins_pipelines.shell_scripts import step


def run_script() -> Fragment:
    """Run it with exactly its arguments; the step around it does not have the token either.

    A process can read the environment of another process of its user in /proc: so the whole step lacks the token.
    """
    run = step("fail", "run_script", inner=("become", "start_script"))
    return Fragment(stages=(Stage(name="build", steps=(WithEnv(variables={"SHUTTLE_TOKEN": ""}, steps=(run,)),)),))
