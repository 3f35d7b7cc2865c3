"""The records of a build's platforms: they are recorded with the build, and found by their build ids."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from shuttle.build import Api, Build, State, child_id_of
from shuttle.clock import Moment
from shuttle.store.builds import find_newest, lock_build
from shuttle.store.new_build import NewBuild, NewChild
from shuttle.store.tables import builds
from shuttle.store.tx import Tx

_LABEL = "platform"
# Databases limit the number of a statement's parameters; each pair has two.
_PAIRS_AT_ONCE = 1000


def child_of(parent: Build, child: NewChild) -> Build:
    """The record of a platform as its row will be inserted."""
    return Build(
        api=Api.RECORD,
        build_uuid=child.build_uuid,
        app_id=parent.app_id,
        build_id=child.build_id,
        pipeline=Api.RECORD.value,
        labels={_LABEL: child.platform},
        accepted_at=parent.accepted_at,
        deadline_at=parent.deadline_at,
        parent_uuid=parent.build_uuid,
        resume_from=child.resume_from,
        record={"of_platform": True},
    )


def child_row(new: NewBuild, child: Build, now: Moment) -> Mapping[str, Any]:
    """The row of `child`, which `child_of` has returned."""
    return {
        "build_uuid": child.build_uuid,
        "app_id": child.app_id,
        "build_id": child.build_id,
        "api": child.api.value,
        "plan": b"",
        "request_fingerprint": new.request_fingerprint,
        "metadata_json": child.metadata_json,
        "labels": dict(child.labels),
        "pipeline": child.pipeline,
        "serial_key": child.app_id,
        "destinations": [],
        "source_url": "",
        "state": child.state.value,
        "sequence": 1,
        "accepted_at": child.accepted_at,
        "deadline_at": child.deadline_at,
        "timeout_seconds": 0,
        "record": dict(child.record or {}),
        "called_steady_at": now.steady,
        "parent_uuid": child.parent_uuid,
        "resume_from": child.resume_from,
    }


def recorded_pairs(tx: Tx, pairs: list[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those pairs of app id and build id that builds have."""
    found = set[tuple[str, str]]()
    for start in range(0, len(pairs), _PAIRS_AT_ONCE):
        wanted = sa.tuple_(builds.c.app_id, builds.c.build_id).in_(pairs[start : start + _PAIRS_AT_ONCE])
        query = sa.select(builds.c.app_id, builds.c.build_id).where(wanted)
        found |= {(row.app_id, row.build_id) for row in tx.execute(query)}
    return found


def platform_record(tx: Tx, build: Build, platform: str) -> Build | None:
    """The record of this platform of the build; None = the build has no such platform, or the record was deleted."""
    if platform not in build.platforms:
        return None
    child = find_newest(tx, build.app_id, child_id_of(build.build_id, platform))
    return child if child is not None and child.parent_uuid == build.build_uuid else None


def platform_records(tx: Tx, build: Build) -> dict[str, Build]:
    """The records of the build's platforms by their names, in the order of the request."""
    found = {platform: platform_record(tx, build, platform) for platform in build.platforms}
    return {platform: child for platform, child in found.items() if child is not None}


def open_platform(tx: Tx, build: Build, platform: str) -> Build | None:
    """The record of this platform, locked; None also if it has ended. The caller has locked the build."""
    child = platform_record(tx, build, platform)
    locked = None if child is None else lock_build(tx, child.build_uuid)
    return None if locked is None or locked.state.final else locked


def lowest_state(tx: Tx, build: Build) -> int | None:
    """The lowest code of the platforms that have not succeeded; None = all have."""
    ids = [child_id_of(build.build_id, platform) for platform in build.platforms]
    of_build = (builds.c.parent_uuid == build.build_uuid, builds.c.build_id.in_(ids))
    query = sa.select(sa.func.min(sa.func.coalesce(builds.c.state_code, 0)))
    found: int | None = tx.execute(query.where(*of_build, builds.c.state != State.SUCCEEDED.value)).scalar()
    return found


def explain_platform(tx: Tx, build: Build, platform: str, reason: str, message: str | None) -> None:
    """Keep the first reason that a platform's branch reports for its failure."""
    child = open_platform(tx, build, platform)
    if child is not None and child.report_reason is None:
        explained = {"report_reason": reason, "report_message": message}
        tx.execute(builds.update().where(builds.c.build_uuid == child.build_uuid).values(explained))
