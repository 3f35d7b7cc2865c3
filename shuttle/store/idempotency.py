"""Repeated requests: an equal request gets the recorded build, a different one with the same ids is a conflict."""

from collections.abc import Callable

import sqlalchemy as sa

from shuttle.build import Api, Build
from shuttle.errors import ConflictError
from shuttle.store.builds import find_build, find_builds
from shuttle.store.tables import builds
from shuttle.store.tx import Tx


def find_recorded(tx: Tx, app_id: str, build_id: str, same_request: Callable[[str], bool]) -> Build | None:
    """The new API's build with these ids if its request is equal; None = no build has these ids.

    Raises ConflictError if the request is different, or if only builds of the older API have these ids.
    """
    found = find_builds(tx, app_id, build_id)
    if not found:
        return None
    for build in found:
        if build.api is Api.NEW and same_request(_fingerprint(tx, build.build_uuid)):
            return build
    raise ConflictError(
        f"Build {build_id} of {app_id} exists with another request; use a new build id.", field="build_id"
    )


def find_recorded_legacy(tx: Tx, build_uuid: str, same_request: Callable[[str], bool]) -> Build | None:
    """The older API's build with this uuid if its request is equal; raises ConflictError if it is different."""
    build = find_build(tx, build_uuid)
    if build is None:
        return None
    if build.api is Api.LEGACY and same_request(_fingerprint(tx, build_uuid)):
        return build
    raise ConflictError(f"Build {build_uuid} exists with another request; use a new uuid.", field="build_uuid")


def _fingerprint(tx: Tx, build_uuid: str) -> str:
    query = sa.select(builds.c.request_fingerprint).where(builds.c.build_uuid == build_uuid)
    fingerprint: str = tx.execute(query).scalar_one()
    return fingerprint
