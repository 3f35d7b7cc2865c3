"""Starts builds of the shuttle's jobs and waits for them, through the client under test."""

import uuid

from jenkins_pipelines.config_xml import config_xml, marker
from jenkins_pipelines.models import Parameter, Pipeline, Sh, Stage
from shuttle.jenkins import Jenkins, JenkinsBuild
from tests.contract.jenkins.job_xml import sh, step
from tests.contract.jenkins.servers import ServerUnderTest

DIGEST, OTHER_DIGEST = "sha256:" + "a" * 64, "sha256:" + "b" * 64
RUNS_ON = "i=0; while [ $i -lt 120 ]; do echo tick $i; i=$((i+1)); sleep 0.5; done"


def ours(script: str = RUNS_ON, digest: str = DIGEST, *, parameters: bool = True) -> bytes:
    """A job like those of the shuttle, with a script of the test."""
    taken = (Parameter(name="BUILD_UUID"), Parameter(name="SHUTTLE_TOKEN", kind="password")) if parameters else ()
    stages = (Stage(name="run", steps=(Sh(script=script),)),)
    pipeline = Pipeline(name="script", description="a test's", parameters=taken, stages=stages)
    return config_xml(pipeline, script=step(sh(script)), description=marker("script", digest), keep_builds=50)


def new_build() -> dict[str, str]:
    return {"BUILD_UUID": str(uuid.uuid4()), "SHUTTLE_TOKEN": "t0ken-of-the-build"}


async def triggered(server: ServerUnderTest, jenkins: Jenkins, job: str, parameters: dict[str, str]) -> tuple[int, int]:
    """The queue item and the number of a new build."""
    item = await jenkins.trigger(job, parameters)

    async def left() -> bool:
        return (await jenkins.queue_item(item, parameters["BUILD_UUID"])).number is not None

    await server.until(left)
    number = (await jenkins.queue_item(item, parameters["BUILD_UUID"])).number
    assert number is not None
    return item, number


async def started(server: ServerUnderTest, jenkins: Jenkins, job: str, parameters: dict[str, str]) -> int:
    """A build whose script ticks."""
    _, number = await triggered(server, jenkins, job, parameters)

    async def ticks() -> bool:
        return b"tick" in await text(jenkins, job, number)

    await server.until(ticks)
    return number


async def ended(server: ServerUnderTest, jenkins: Jenkins, job: str, number: int) -> JenkinsBuild:
    async def over() -> bool:
        return not (await jenkins.build(job, number)).building

    await server.until(over)
    return await jenkins.build(job, number)


async def text(jenkins: Jenkins, job: str, number: int) -> bytes:
    return await jenkins.console_tail(job, number)
