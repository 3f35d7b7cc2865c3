"""The environment of `sh`: the server's without the shuttle's settings, Jenkins' variables and the parameters."""

import os
from collections.abc import Mapping
from pathlib import Path

from jenkins_emulator.builds import Build

# The demo starts this server with the shuttle's environment, whose secrets must not reach a build.
_NOT_INHERITED = ("SHUTTLE_", "S3_", "AWS_", "KAFKA_", "EXTRA_", "DATABASE_URL", "JENKINS_", "BUILD_", "JOB_")


def inherited() -> dict[str, str]:
    """This process's environment without the variables that builds must not see."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)}


def build_environment(
    base: Mapping[str, str], build: Build, home: Path, root_url: str | None, node_name: str
) -> dict[str, str]:
    """The build's environment. Without `root_url`, JENKINS_URL, JOB_URL and BUILD_URL are absent (recorded)."""
    number, name = str(build.number), build.job.full_name
    variables = {
        "BUILD_DISPLAY_NAME": f"#{number}",
        "BUILD_ID": number,
        "BUILD_NUMBER": number,
        "CI": "true",
        "BUILD_TAG": f"jenkins-{name.replace('/', '-')}-{number}",
        "JENKINS_HOME": str(home),
        "JOB_BASE_NAME": build.job.name,
        "JOB_NAME": name,
        "NODE_LABELS": node_name,
        "NODE_NAME": node_name,
    }
    if root_url is not None:
        job_url = f"{root_url.rstrip('/')}/job/{name.replace('/', '/job/')}/"
        variables |= {"JENKINS_URL": f"{root_url.rstrip('/')}/", "JOB_URL": job_url, "BUILD_URL": f"{job_url}{number}/"}
    return {**base, **variables, **{parameter.name: parameter.value for parameter in build.parameters}}


def node_environment(workspace: Path, slot: int, cookie: str) -> dict[str, str]:
    """The variables that `node { }` adds; every process of the block has the cookie, unless it clears them."""
    return {
        "EXECUTOR_NUMBER": str(slot),
        "JENKINS_NODE_COOKIE": cookie,
        "WORKSPACE": str(workspace),
        "WORKSPACE_TMP": f"{workspace}@tmp",
    }
