"""Chooses the Jenkins controller of an app, before a build is triggered: a triggered build stays on its controller."""

import structlog

from shuttle.build import Build
from shuttle.errors import JenkinsUnavailableError
from shuttle.lifecycle import Services
from shuttle.store.apps import assign_controller, keep_controller

log = structlog.get_logger()

# An app may have 50,000 builds; 500 of them take some 20 ms.
_KEPT_AT_ONCE = 500


async def on_controller(build: Build, services: Services) -> Build:
    """The build, with a controller that can run it. Call it while Jenkins has no build of the app.

    An app stays where it is. A new app gets the controller with the shortest queue per executor. An app moves when its
    controller has been unreachable for all replicas for SHUTTLE_JENKINS_MOVE_SECONDS, or when no replica lists it.

    Raises JenkinsUnavailableError if there is no such controller now.
    """
    if build.controller and not _is_gone(build.controller, services):
        return build
    current = await services.current(build)
    if current.controller != build.controller:  # an earlier try chose it, then Jenkins failed
        return current
    others = [name for name in await services.controllers.by_load() if name != build.controller]
    if not others:
        raise JenkinsUnavailableError("No controller of JENKINS_URL answers.")
    if build.controller:
        log.warning("an app moves to another controller", app_id=build.app_id, controller=others[0])
        first: str | None = ""
        while first is not None:
            first = await services.database.run(keep_controller, build, first=first, limit=_KEPT_AT_ONCE)
    return await services.database.run(assign_controller, build, others[0])


def _is_gone(controller: str, services: Services) -> bool:
    if controller == services.controllers.only:
        return False
    seconds = services.settings.shuttle_jenkins_move_seconds
    return all(replica.lacks(controller, seconds) for replica in services.reachabilities())
