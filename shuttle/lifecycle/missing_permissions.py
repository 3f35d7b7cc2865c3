"""Logs which permissions in Jenkins a build lacks: somebody has to grant them."""

import structlog

from shuttle.errors import JenkinsRefusedError, ShuttleError

log = structlog.get_logger()


class MissingPermissions:
    """Logs each missing permission once, however often the step of the build is repeated."""

    def __init__(self, build_uuid: str) -> None:
        self._build_uuid = build_uuid
        self._logged: set[str] = set()

    def log(self, error: ShuttleError) -> None:
        """Log the error if it names a missing permission and has not been logged yet."""
        if isinstance(error, JenkinsRefusedError) and error.permission and error.message not in self._logged:
            self._logged.add(error.message)
            log.warning("the user in JENKINS_URL lacks a permission", build_uuid=self._build_uuid, error=error.message)
