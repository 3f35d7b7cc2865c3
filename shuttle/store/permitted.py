"""What a caller may touch: queries that begin with a caller's words go through here, in the action's transaction."""

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
    """The builds of that pair of ids that the caller may touch, oldest first.

    Raises:
        TokenNeededError: the caller is anonymous, and the app or all of these builds are the new API's.
    """
    check_app(tx, app_id, standing)
    found = all_builds.of_pair(tx, app_id, build_id)
    if standing is not Standing.ANONYMOUS:
        return found
    permitted = [build for build in found if build.api is Api.LEGACY]
    if found and not permitted:
        raise TokenNeededError(field="build_id")
    return permitted


def newest_of_pair(tx: Tx, app_id: str, build_id: str, standing: Standing) -> Build | None:
    """The newest of them; raises as `builds_of_pair` does."""
    if standing is not Standing.ANONYMOUS:
        return all_builds.by_id(tx, app_id, build_id)
    return next(reversed(builds_of_pair(tx, app_id, build_id, standing)), None)


def check_app(tx: Tx, app_id: str, standing: Standing) -> None:
    """An app that is not known yet is open to all: the first request that is recorded decides whose it is.

    Raises:
        TokenNeededError: the caller is anonymous, and the app is not one of the older API.
    """
    if standing is Standing.ANONYMOUS:
        known = apis_of(tx, [app_id]).get(app_id, Api.LEGACY)
        if known is not Api.LEGACY or legacy_app(app_id) is None:
            raise TokenNeededError(field="app")


def check_source(tx: Tx, build_uuid: str, standing: Standing) -> None:
    """Ask once the object is open: what is put there later is another object.

    A source without a record is one that the old shuttle left, unless it is a pending upload: then its build is about
    to be recorded, and nobody knows yet by which API.

    Raises:
        TokenNeededError: the caller is anonymous, and the source is not that of a build that such a caller may touch.
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
    """By which API each of these apps was made; unknown ones are left out."""
    query = sa.select(apps.c.app_id, apps.c.api).where(apps.c.app_id.in_(app_ids))
    return {app_id: Api(api) for app_id, api in tx.execute(query)}


def has_builds_of(tx: Tx, app_id: str, api: Api) -> bool:
    """Whether the app has a build of that API."""
    query = sa.select(builds.c.build_uuid).where(builds.c.app_id == app_id, builds.c.api == api.value)
    return tx.execute(query.limit(1)).first() is not None


def _is_registered(tx: Tx, build_uuid: str) -> bool:
    query = sa.select(early_sources.c.build_uuid).where(early_sources.c.build_uuid == build_uuid)
    return tx.execute(query).first() is not None
