"""Lines of builds that resume one another. One build at a time continues a line, because all have the same work."""

from collections.abc import Callable

import sqlalchemy as sa

from shuttle.build import FINAL, Build
from shuttle.errors import ConflictError
from shuttle.store.builds import find_build, find_newest
from shuttle.store.left_behind import line_of
from shuttle.store.tables import apps, builds
from shuttle.store.tx import Tx


def _line() -> sa.CTE:
    """The uuids of a build, of those that it resumes, one after the other, and of all that resume one of these."""
    older = sa.select(builds.c.build_uuid, builds.c.resume_from).where(builds.c.build_uuid == sa.bindparam("uuid"))
    resumed = older.cte("resumed", recursive=True)
    above = sa.select(builds.c.build_uuid, builds.c.resume_from)
    resumed = resumed.union(above.where(builds.c.build_uuid == resumed.c.resume_from))
    line = sa.select(resumed.c.build_uuid).cte("line", recursive=True)
    return line.union(sa.select(builds.c.build_uuid).where(builds.c.resume_from == line.c.build_uuid))


# Two queries: PostgreSQL expects thousands of rows of a recursive query, and would read all builds to join them.
_LINE = sa.select(_line().c.build_uuid)
_UNFINISHED = (
    sa.select(builds.c.build_uuid, builds.c.request_fingerprint)
    .where(builds.c.build_uuid.in_(sa.bindparam("others", expanding=True)))
    .where(builds.c.state.not_in([state.value for state in FINAL]))
    .order_by(builds.c.position.desc())
)


def first_of_line(tx: Tx, app_id: str, build_id: str) -> str | None:
    """The uuid of the build with which the line of this one begins; None = there is no such build."""
    build = find_newest(tx, app_id, build_id)
    return None if build is None else line_of(tx, build)[-1].build_uuid


def lock_line(tx: Tx, app_id: str) -> None:
    """Wait until no other transaction begins a build of the line: all of its builds are of this app."""
    tx.execute(sa.select(apps.c.app_id).where(apps.c.app_id == app_id).with_for_update(key_share=True))


def unfinished_successor(tx: Tx, build_uuid: str, same_request: Callable[[str], bool]) -> Build | None:
    """The build that resumes this one and has not ended, if an equal request made it; None = its line has ended.

    Raises ConflictError if another request made a build that continues the line.
    """
    line = tx.execute(_LINE, {"uuid": build_uuid}).scalars()
    rows = tx.execute(_UNFINISHED, {"others": [other for other in line if other != build_uuid]}).all()
    if not rows:
        return None
    equal = next((row.build_uuid for row in rows if same_request(row.request_fingerprint)), None)
    found = find_build(tx, equal or rows[0].build_uuid)
    assert found is not None  # noqa: S101 - selected above
    if equal is not None:
        return found
    raise ConflictError(f"Build {found.build_id} continues the work of this one already; wait for its end, or stop it.")
