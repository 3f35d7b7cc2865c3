"""Run one build from its current state to its end; every step can be repeated after a crash or a takeover."""

import asyncio

from shuttle.build import STOP_ENDINGS, Build, Ending, State, StopCause
from shuttle.errors import BuildFailedError, ForeignJobError
from shuttle.lifecycle import Services
from shuttle.lifecycle.archive_log import archive_log
from shuttle.lifecycle.build_spec import BuildSpec, open_spec
from shuttle.lifecycle.finish import finish
from shuttle.lifecycle.follow import follow
from shuttle.lifecycle.jenkins_watch import is_over_in_jenkins
from shuttle.lifecycle.stage import stage
from shuttle.lifecycle.stop import enforce, stop_build
from shuttle.lifecycle.trigger import trigger
from shuttle.logs.spool import SpoolError
from shuttle.store import Tx
from shuttle.store.builds import find_build, sealed_spec

# The pause between two polls of a stopped build in Jenkins.
_POLL_SECONDS = 0.5


async def run(build_uuid: str, services: Services) -> None:
    """Run the build to its end, or until it has to wait for a slot."""
    await finalize(build_uuid, await pursue(build_uuid, services), services)


async def pursue(build_uuid: str, services: Services) -> Ending | None:
    """Run the build without recording its ending; returns the ending, or None if the build waits or is final."""
    build, sealed = await services.database.run(_read_with_spec, build_uuid)
    if build.state.final:
        return None
    if build.stop_cause is not None and build.trigger_attempted_at is None:
        return STOP_ENDINGS[build.stop_cause]  # it was stopped together with its app
    return await _pursue_within_limits(build, open_spec(build_uuid, sealed, services.vault), services)


async def finalize(build_uuid: str, ending: Ending | None, services: Services) -> None:
    """Record the ending, if there is one, and archive the log of a build that is final.

    This takes as long as Jenkins or the object store is out of reach, so the caller must have released the locks of
    staging: other sources would wait for them.
    """
    build, sealed = await services.database.run(_read_with_spec, build_uuid)
    if ending is not None and not build.state.final:
        await finish(build, open_spec(build_uuid, sealed, services.vault), ending, services)
        build = await services.current(build)
    if build.state.final:
        services.logs.forget(build_uuid)  # also if the answer to the recording of the end was lost
        if build.archived_at is None:
            await archive_log(build, services)


def _read_with_spec(tx: Tx, build_uuid: str) -> tuple[Build, bytes]:
    """The build and its encrypted spec, by one transaction: after a takeover many builds are read at once."""
    build = find_build(tx, build_uuid)
    assert build is not None  # noqa: S101 - the worker has just read its uuid from the table
    return build, sealed_spec(tx, build_uuid)


async def _pursue_within_limits(build: Build, spec: BuildSpec, services: Services) -> Ending | None:
    """Run the flow and `enforce` (stop, time limit, deadline) together; the first one to return decides the ending."""
    pursuit = asyncio.ensure_future(_pursue(build, spec, services))
    watch = asyncio.ensure_future(enforce(build.build_uuid, services))
    try:
        done, _ = await asyncio.wait([pursuit, watch], return_when=asyncio.FIRST_COMPLETED)
        return (pursuit if pursuit in done else watch).result()
    finally:
        for task in (pursuit, watch):
            task.cancel()
        await asyncio.gather(pursuit, watch, return_exceptions=True)


async def _pursue(build: Build, spec: BuildSpec, services: Services) -> Ending | None:
    """The flow. None = the build waits for a slot, has to be triggered again, or its final state is recorded."""
    try:
        if build.staged_at is None:
            build = await stage(build, spec, services) or await services.current(build)
        if build.slot_at is None or build.state.final:
            return None
        if build.state is State.STAGING:
            build = await trigger(build, spec, services)
        if build.state is State.STAGING and build.stop_cause is not None:
            return STOP_ENDINGS[build.stop_cause]
        if build.state.final:
            return None
        return await follow(build, services)
    except (BuildFailedError, ForeignJobError) as error:
        return _failure(error)
    except SpoolError:
        await stop_build(build.build_uuid, StopCause.SPOOL_UNWRITABLE, services)
        return await _confirmed_stop(await services.current(build), services)


def _failure(error: BuildFailedError | ForeignJobError) -> Ending:
    if isinstance(error, ForeignJobError):
        return Ending(State.FAILED, "foreign_job", error.message)
    return Ending(State.FAILED, error.reason, error.message)


async def _confirmed_stop(build: Build, services: Services) -> Ending:
    """The ending of a build whose log cannot be written; returns once the build is over in Jenkins."""
    with services.signals.listen(build.build_uuid) as listener:
        while not await is_over_in_jenkins(build, services):
            await listener.wait(_POLL_SECONDS)
    return STOP_ENDINGS[StopCause.SPOOL_UNWRITABLE]
