"""Prepare and trigger: create or update the app's Jenkins job, then start the build in it exactly once."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from jenkins_pipelines.catalogue import PIPELINES
from jenkins_pipelines.render import render
from shuttle.build import Build, State
from shuttle.errors import JenkinsNotFoundError, JobNotReadyError, UnavailableError
from shuttle.lifecycle import Services
from shuttle.lifecycle.backoff import Backoff, NotFoundTimer
from shuttle.lifecycle.build_spec import BuildSpec
from shuttle.lifecycle.choose_controller import on_controller
from shuttle.lifecycle.claim_race import unless_claimed
from shuttle.store.transitions import attempt_trigger, become_queued, record_waiting, undo_trigger

# The pause between two searches for the marker while the trigger's outcome is unknown; each takes two listings.
_SEARCH_SECONDS = 0.5


async def trigger(build: Build, spec: BuildSpec, services: Services) -> Build:
    """Take the build from staging to queued; a claim, a stop or an end may change its state meanwhile.

    The attempt is committed before the POST. If its answer is lost, the POST is not repeated at once: the marker is
    searched for first. The POST is repeated once a healthy Jenkins has not shown the marker for
    SHUTTLE_TRIGGER_SETTLE_SECONDS.

    Raises ForeignJobError.
    """
    backoff = Backoff(build.build_uuid, services)
    while build.state is State.STAGING:
        if build.trigger_attempted_at is not None:
            build = await _search_marker(build, services)
            if build.state is not State.STAGING or build.stop_cause is not None:
                return build
        elif build.stop_cause is not None:
            return build
        async with _sole_use_of_job(build, services):
            build = await _prepare_and_trigger(build, spec, services, backoff)
    return build


@asynccontextmanager
async def _sole_use_of_job(build: Build, services: Services) -> AsyncIterator[None]:
    """Hold the lock of the job. While Jenkins deletes the job of an app that was deleted, `waiting_for` says so."""
    lock = services.signals.job_lock(build.job_name)
    deleting = lock.locked()
    if deleting:
        await services.database.run(record_waiting, build.build_uuid, "Jenkins: the app's job is being deleted.")
    async with lock:
        if deleting:
            await services.database.run(record_waiting, build.build_uuid, None)
        yield


async def _prepare_and_trigger(build: Build, spec: BuildSpec, services: Services, backoff: Backoff) -> Build:
    build = await backoff.until(lambda: _prepare(build, spec, services), "Jenkins")
    attempted = await services.database.run(attempt_trigger, build.build_uuid)
    if attempted is None:
        return await services.current(build)
    return await _trigger_once(attempted, spec, services, backoff)


async def _prepare(build: Build, spec: BuildSpec, services: Services) -> Build:
    """Create the app's job, or update it if its digest differs. The job is idle: the app's other builds are over.

    Returns the build with its controller.
    """
    build = await on_controller(build, services)
    kind = PIPELINES[spec.request.pipeline]
    platforms = [platform.name for platform in spec.request.platforms]
    pipeline = kind.build(kind.Options.model_validate(spec.request.options), platforms)
    rendered = render(pipeline, agent_label=services.settings.shuttle_jenkins_agent_label or None)
    await services.jenkins_of(build).apply_job(build.job_name, rendered.config_xml, rendered.digest)
    return build


async def _trigger_once(build: Build, spec: BuildSpec, services: Services, backoff: Backoff) -> Build:
    """Send one POST; if it certainly queued nothing, undo the attempt.

    The POST is not repeated here: if it may have queued the build, the caller searches for the marker; if not, the
    caller prepares the job again.
    """
    parameters = {
        "BUILD_UUID": build.build_uuid,
        "SHUTTLE_URL": services.public_url,
        "SHUTTLE_TOKEN": spec.token,
    }
    try:
        posted = services.jenkins_of(build).trigger(build.job_name, parameters)
        item = await unless_claimed(build.build_uuid, services, posted)
    except (JobNotReadyError, JenkinsNotFoundError) as error:
        await services.database.run(undo_trigger, build.build_uuid)
        await backoff.wait(f"Jenkins: {error.message}")
    except UnavailableError as error:
        backoff.missing.log(error)
        await backoff.wait(f"Jenkins: {error.message}")
    else:
        if item is not None:
            return await services.database.run(become_queued, build.build_uuid, item=item)
    return await services.current(build)


async def _search_marker(build: Build, services: Services) -> Build:
    """Search for the marker: the build is queued if it is found; after the settling time the attempt is undone."""
    not_found = NotFoundTimer(services)
    backoff = Backoff(build.build_uuid, services, [not_found])
    pause_seconds = min(_SEARCH_SECONDS, services.settings.shuttle_trigger_settle_seconds / 4)
    with services.signals.listen(build.build_uuid) as listener:
        while (triggered := await backoff.until(lambda: _triggered(build, services), "Jenkins")) is None:
            if not_found.for_too_long():
                await services.database.run(undo_trigger, build.build_uuid)
                return await services.current(build)
            await listener.wait(pause_seconds)
    return triggered


async def _triggered(build: Build, services: Services) -> Build | None:
    """The build's row if it is no longer staging, or if the marker is found; None = Jenkins does not show the marker.

    Raises JenkinsUnavailableError, JenkinsRefusedError.
    """
    current = await services.current(build)
    if current.state is not State.STAGING:
        return current
    return await unless_claimed(build.build_uuid, services, find_in_jenkins(current, services))


async def find_in_jenkins(build: Build, services: Services) -> Build | None:
    """Find the marker in the queue, then in the job's builds, because an item moves that way; None = not found.

    Raises JenkinsUnavailableError, JenkinsRefusedError.
    """
    item = (await services.jenkins_of(build).waiting()).get(build.build_uuid)
    if item is not None:
        return await services.database.run(become_queued, build.build_uuid, item=item.item)
    found = await services.jenkins_of(build).find_build(build.job_name, build.build_uuid)
    if found is not None:
        return await services.database.run(become_queued, build.build_uuid, item=found.queue_item, number=found.number)
    return None
