"""An image: built by the builder that the agent has, or copied, then pushed to every destination."""

from jenkins_pipelines.fragment import Fragment
from jenkins_pipelines.models import Stage, WithEnv
from jenkins_pipelines.shell_scripts import step


def docker_image() -> Fragment:
    """Build or copy, push, report image and digest. Only the report has the token: a RUN in a chroot is our user."""
    build = step("fail", "credentials", "builder", "become", "dockerfile", "build_image")
    push = step("fail", "credentials", "builder", "copy_image", "push_image")
    return Fragment(
        stages=(
            Stage(name="build", steps=(WithEnv(variables={"SHUTTLE_TOKEN": ""}, steps=(build,)),)),
            Stage(name="push", steps=(WithEnv(variables={"SHUTTLE_TOKEN": ""}, steps=(push,)),)),
            Stage(name="report", steps=(step("ask_shuttle", "fail", "json", "report_image"),)),
        ),
    )
