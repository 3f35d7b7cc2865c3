"""Simultaneous requests to resume builds of one line, in one process."""

import asyncio
import json

from shuttle.build import Build, Ending, State
from shuttle.errors import ConflictError
from shuttle.lifecycle.accept import Acceptance, AcceptedBuild
from shuttle.request import ResumeRequest
from shuttle.standing import Standing
from shuttle.store.transitions import finish_build
from tests.unit.lifecycle.one_build import OneBuild


async def test_requests_to_resume_two_builds_of_a_line_make_one_build(one: OneBuild):
    """Before, both were recorded, in one batch: only equal ids were accepted one after the other."""
    acceptance = Acceptance(one.services)

    async def fail(build: Build) -> None:
        await one.database.run(finish_build, build.build_uuid, Ending(State.FAILED, "build_failed", "It broke."))

    async def resume(build_id: str) -> AcceptedBuild:
        wanted = ResumeRequest(build_id)
        return await acceptance.accept_resume("shop", None, wanted, build_id.encode(), Standing.CONTROLLER)

    body = {"source": {"url": "https://example.org/a.tgz"}, "pipeline": "script"}
    await fail((await acceptance.accept("shop", "1", json.dumps(body).encode(), Standing.CONTROLLER)).build)
    await fail((await resume("1")).build)
    answers = await asyncio.gather(resume("1"), resume("1-r1"), return_exceptions=True)
    [accepted] = [answer for answer in answers if isinstance(answer, AcceptedBuild)]
    [refused] = [answer for answer in answers if isinstance(answer, ConflictError)]
    assert f"Build {accepted.build.build_id} " in refused.message
