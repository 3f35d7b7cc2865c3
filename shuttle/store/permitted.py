"""Checks which apps, builds and sources a caller may access, in the transaction of the action."""

from collections.abc import Collection

import sqlalchemy as sa

from shuttle.build import Api, Build
from shuttle.errors import TokenNeededError
from shuttle.request import legacy_app
from shuttle.standing import Standing
from shuttle.store import builds as all_builds
from shuttle.store.tables import apps, builds, early_sources
from shuttle.store.tx import Tx


def builds_of_pair(tx: Tx, app_id: str, build_id: str, standing: Standing) -> list[Build]:
    """The builds with these ids that the caller may access, oldest first.

    Raises:
        TokenNeededError: the caller is anonymous, and the app or all of these builds belong to the new API.
    """
    check_app(tx, app_id, standing)
    found = all_builds.find_builds(tx, app_id, build_id)
    if standing is not Standing.ANONYMOUS:
        return found
    permitted = [build for build in found if build.api is Api.LEGACY]
    if found and not permitted:
        raise TokenNeededError(field="build_id")
    return permitted


def newest_of_pair(tx: Tx, app_id: str, build_id: str, standing: Standing) -> Build | None:
    """The newest of the builds that `builds_of_pair` returns; raises the same errors."""
    if standing is not Standing.ANONYMOUS:
        return all_builds.find_newest(tx, app_id, build_id)
    return next(reversed(builds_of_pair(tx, app_id, build_id, standing)), None)


def check_app(tx: Tx, app_id: str, standing: Standing) -> None:
    """Check whether the caller may access the app.

    Every caller may access an unknown app: the first recorded request determines the API to which it belongs.

    Raises:
        TokenNeededError: the caller is anonymous, and the app does not belong to the older API.
    """
    if standing is Standing.ANONYMOUS:
        known = apis_of(tx, [app_id]).get(app_id, Api.LEGACY)
        if known is not Api.LEGACY or legacy_app(app_id) is None:
            raise TokenNeededError(field="app")


def check_source(tx: Tx, build_uuid: str, standing: Standing) -> None:
    """Check whether the caller may read the source.

    Call it after the object is opened: an object that is opened after the check may be that of another build.

    A source without a recorded build was left by the old shuttle, unless it is a pending upload: then its build is
    about to be recorded, and the API is not known yet.

    Raises:
        TokenNeededError: the caller is anonymous, and the source belongs to a build that it may not access.
    """
    if standing is not Standing.ANONYMOUS:
        return
    build = all_builds.find_build(tx, build_uuid.lower())
    if build is not None:
        if build.api is not Api.LEGACY:
            raise TokenNeededError(field="sources")
        check_app(tx, build.app_id, standing)
    elif _is_registered(tx, build_uuid.lower()):
        raise TokenNeededError(field="sources")


def apis_of(tx: Tx, app_ids: Collection[str]) -> dict[str, Api]:
    """The API that created each of these apps; unknown apps are left out."""
    query = sa.select(apps.c.app_id, apps.c.api).where(apps.c.app_id.in_(app_ids))
    return {app_id: Api(api) for app_id, api in tx.execute(query)}


def has_new_builds(tx: Tx, app_id: str) -> bool:
    """Whether the app has a build of the new API, or a record."""
    query = sa.select(builds.c.build_uuid).where(builds.c.app_id == app_id, builds.c.api != Api.LEGACY.value)
    return tx.execute(query.limit(1)).first() is not None


def _is_registered(tx: Tx, build_uuid: str) -> bool:
    query = sa.select(early_sources.c.build_uuid).where(early_sources.c.build_uuid == build_uuid)
    return tx.execute(query).first() is not None
