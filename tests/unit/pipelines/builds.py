"""Builds for the tests of the agent's side: users' scripts, and a fake shuttle that serves them."""

import asyncio
from collections.abc import Callable

from jenkins_pipelines.catalogue import PIPELINES
from jenkins_pipelines.environment import AgentEnvironment
from tests.support.agent_api import BUILD_UUID, AgentApi, source_archive

SCRIPT = PIPELINES["script"].build(PIPELINES["script"].Options())
RUNNING = "-----> Running build.sh\n"


def shuttle(build: str, arguments: dict[str, str] | None = None, **files: bytes) -> AgentApi:
    """A fake shuttle whose only build runs this script."""
    environment = AgentEnvironment(app_id="app", build_id="1", build_uuid=BUILD_UUID, arguments=arguments or {})
    return AgentApi(environment, source_archive({"build.sh": "#!/bin/sh\n" + build, **files}))


async def until(holds: Callable[[], object]) -> None:
    """Wait until the condition holds, which depends on other processes."""
    while not holds():
        await asyncio.sleep(0.01)
