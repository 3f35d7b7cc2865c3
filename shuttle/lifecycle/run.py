"""Run one build from its current state to its end; every step can be repeated after a crash or a takeover."""

import asyncio

from shuttle.build import STOP_ENDINGS, Build, Ending, State, StopCause
from shuttle.errors import BuildFailedError
from shuttle.lifecycle import Ports
from shuttle.lifecycle.archive_log import archive_log
from shuttle.lifecycle.finish import finish
from shuttle.lifecycle.follow import follow
from shuttle.lifecycle.jenkins_watch import is_over_in_jenkins
from shuttle.lifecycle.plan import Plan, read_plan
from shuttle.lifecycle.stage import stage
from shuttle.lifecycle.stop import enforce, stop_build
from shuttle.lifecycle.trigger import trigger
from shuttle.logs.spool import SpoolError
from shuttle.store.builds import find_build, reread

# Between two looks at a stopped build in Jenkins.
_LOOK_SECONDS = 0.5


async def run(build_uuid: str, ports: Ports) -> None:
    """Take the build as far as it can go now: to its end, or to where it waits for a slot."""
    await settle(build_uuid, await pursue(build_uuid, ports), ports)


async def pursue(build_uuid: str, ports: Ports) -> Ending | None:
    """Take the build as far as it can go without being settled: how it ends, or None where it waits or is final."""
    build, plan = await _read(build_uuid, ports)
    return None if build.state.final else await _pursue_within_limits(build, plan, ports)


async def settle(build_uuid: str, ending: Ending | None, ports: Ports) -> None:
    """Record the ending, if there is one, and archive the log of a build that is final.

    This can last as long as Jenkins or the object store are out of reach, so it is nobody's turn to stage.
    """
    build, plan = await _read(build_uuid, ports)
    if ending is not None and not build.state.final:
        await finish(build, plan, ending, ports)
        build = await _now(build, ports)
    if build.state.final and build.archived_at is None:
        await archive_log(build, ports)


async def _read(build_uuid: str, ports: Ports) -> tuple[Build, Plan]:
    build = await ports.database.run(find_build, build_uuid)
    assert build is not None  # noqa: S101 - the worker has just read its uuid from the table
    return build, await read_plan(build_uuid, ports.database, ports.vault)


async def _pursue_within_limits(build: Build, plan: Plan, ports: Ports) -> Ending | None:
    """Run the flow beside `enforce` (stop, time limit, deadline); the first of the two to return gives the ending."""
    pursuit = asyncio.ensure_future(_pursue(build, plan, ports))
    watch = asyncio.ensure_future(enforce(build.build_uuid, ports))
    try:
        done, _ = await asyncio.wait([pursuit, watch], return_when=asyncio.FIRST_COMPLETED)
        return (pursuit if pursuit in done else watch).result()
    finally:
        for task in (pursuit, watch):
            task.cancel()
        await asyncio.gather(pursuit, watch, return_exceptions=True)


async def _pursue(build: Build, plan: Plan, ports: Ports) -> Ending | None:
    """The flow. None = it waits for a slot, is to be triggered again, or its final state is recorded already."""
    try:
        if build.staged_at is None:
            build = await stage(build, plan, ports) or await _now(build, ports)
        if build.slot_at is None or build.state.final:
            return None
        if build.state is State.STAGING:
            build = await trigger(build, plan, ports)
        if build.state is State.STAGING and build.stop_cause is not None:
            return STOP_ENDINGS[build.stop_cause]
        if build.state.final:
            return None
        return await follow(build, ports)
    except BuildFailedError as error:
        return Ending(State.FAILED, error.reason, error.message)
    except SpoolError:
        await stop_build(build.build_uuid, StopCause.SPOOL_UNWRITABLE, ports)
        return await _confirmed_stop(await _now(build, ports), ports)


async def _confirmed_stop(build: Build, ports: Ports) -> Ending:
    """The ending of a build whose log cannot be kept, once Jenkins has ended its side."""
    with ports.signals.listen(build.build_uuid) as listener:
        while not await is_over_in_jenkins(build, ports):
            await listener.wait(_LOOK_SECONDS)
    return STOP_ENDINGS[StopCause.SPOOL_UNWRITABLE]


async def _now(build: Build, ports: Ports) -> Build:
    return await ports.database.run(reread, build)
