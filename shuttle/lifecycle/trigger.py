"""Prepare and trigger: the app's Jenkins job is made right, and the build is handed to it exactly once."""

import asyncio

from jenkins_pipelines.catalogue import PIPELINES
from jenkins_pipelines.render import render
from shuttle.build import Build, State
from shuttle.errors import BuildFailedError, ForeignJobError, JenkinsNotFoundError, JobNotReadyError, UnavailableError
from shuttle.lifecycle import Ports
from shuttle.lifecycle.claimed import unless_claimed
from shuttle.lifecycle.patience import Patience
from shuttle.lifecycle.plan import Plan
from shuttle.store.builds import reread
from shuttle.store.transitions import attempt_trigger, become_queued, take_back_trigger

# How often the marker is looked for while an answer is unknown; two listings each time.
_LOOK_SECONDS = 0.5


async def trigger(build: Build, plan: Plan, ports: Ports) -> Build:
    """staging → queued (or whatever a claim, a stop or an end made of it meanwhile).

    The attempt is committed before the POST. When its answer is lost the POST is not repeated: the marker is looked
    for until SHUTTLE_TRIGGER_SETTLE_SECONDS of healthy answers have shown nothing.

    Raises:
        BuildFailedError: `foreign_job`.
    """
    patience = Patience(build.build_uuid, ports)
    while build.state is State.STAGING:
        if build.trigger_attempted_at is not None:
            build = await _look_for(build, ports)
            if build.state is not State.STAGING or build.stop_cause is not None:
                return build
        elif build.stop_cause is not None:
            return build
        async with ports.signals.job_door(build.job_name):
            build = await _prepare_and_trigger(build, plan, ports, patience)
    return build


async def _prepare_and_trigger(build: Build, plan: Plan, ports: Ports, patience: Patience) -> Build:
    await _prepare(build, plan, ports, patience)
    attempted = await ports.database.run(attempt_trigger, build.build_uuid)
    if attempted is None:
        return await _reread(build, ports)
    return await _trigger_once(attempted, plan, ports, patience)


async def _prepare(build: Build, plan: Plan, ports: Ports, patience: Patience) -> None:
    """Create the app's job, or update it when its digest differs; the app's other builds are over, so it is idle."""
    kind = PIPELINES[plan.request.pipeline]
    pipeline = kind.build(kind.Options.model_validate(plan.request.options))
    rendered = render(pipeline, agent_label=ports.settings.shuttle_jenkins_agent_label or None)
    while True:
        try:
            await ports.jenkins.apply_job(build.job_name, rendered.config_xml, rendered.digest)
        except UnavailableError as error:
            await patience.wait(f"Jenkins: {error.message}")
            current = await _reread(build, ports)
            if current.stop_cause is not None or current.state.final:
                return
        except ForeignJobError as error:
            raise BuildFailedError("foreign_job", error.message) from error
        else:
            await patience.over()
            return


async def _trigger_once(build: Build, plan: Plan, ports: Ports, patience: Patience) -> Build:
    """One POST. What it certainly did not do is taken back; what it may have done is left to be looked for."""
    parameters = {
        "BUILD_UUID": build.build_uuid,
        "SHUTTLE_URL": ports.public_url,
        "SHUTTLE_TOKEN": plan.token,
    }
    try:
        posted = ports.jenkins.trigger(build.job_name, parameters)
        item = await unless_claimed(build.build_uuid, ports, posted)
    except (JobNotReadyError, JenkinsNotFoundError) as error:
        await ports.database.run(take_back_trigger, build.build_uuid)
        await patience.wait(f"Jenkins: {error.message}")
        return await _reread(build, ports)
    except UnavailableError as error:
        await patience.wait(f"Jenkins: {error.message}")
        return await _reread(build, ports)
    return (
        await ports.database.run(become_queued, build.build_uuid, item=item)
        if item is not None
        else await _reread(build, ports)
    )


async def _look_for(build: Build, ports: Ports) -> Build:
    """Look for the marker; found: queued. Not found for the settling time: the attempt is taken back."""
    clock = asyncio.get_running_loop().time
    patience = Patience(build.build_uuid, ports)
    healthy_since: float | None = None
    with ports.signals.listen(build.build_uuid) as listener:
        while build.state is State.STAGING:
            try:
                found = await unless_claimed(build.build_uuid, ports, find_in_jenkins(build, ports))
            except UnavailableError as error:
                healthy_since = None
                await patience.wait(f"Jenkins: {error.message}")
            else:
                if found is not None:
                    return found
                now = clock()
                healthy_since = now if healthy_since is None else healthy_since
                if now - healthy_since >= ports.settings.shuttle_trigger_settle_seconds:
                    await ports.database.run(take_back_trigger, build.build_uuid)
                    return await _reread(build, ports)
                await listener.wait(min(_LOOK_SECONDS, ports.settings.shuttle_trigger_settle_seconds / 4))
            build = await _reread(build, ports)
    return build


async def find_in_jenkins(build: Build, ports: Ports) -> Build | None:
    """Find the marker in the queue, then in the job's builds (an item moves that way); None = nowhere.

    Raises JenkinsUnavailableError, JenkinsRefusedError.
    """
    item = (await ports.jenkins.waiting()).get(build.build_uuid)
    if item is not None:
        return await ports.database.run(become_queued, build.build_uuid, item=item.item)
    found = await ports.jenkins.find_build(build.job_name, build.build_uuid)
    if found is not None:
        return await ports.database.run(become_queued, build.build_uuid, item=found.queue_item, number=found.number)
    return None


async def _reread(build: Build, ports: Ports) -> Build:
    return await ports.database.run(reread, build)
