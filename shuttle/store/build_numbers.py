"""Build numbers of the older API, which the service assigns if the client sends none."""

from collections.abc import Sequence
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shuttle.build import Api
from shuttle.standing import Standing
from shuttle.store.builds import find_builds
from shuttle.store.permitted import check_app
from shuttle.store.prepared import Prepared
from shuttle.store.tables import apps, builds
from shuttle.store.tx import Tx


class Numbered(Protocol):
    """A build whose id is a number."""

    @property
    def app_id(self) -> str:
        """The id of its app."""

    @property
    def build_id(self) -> str:
        """The number, as decimal digits."""


_RAISE_NEXT_NUMBER = Prepared(
    apps.update()
    .where(apps.c.app_id == sa.bindparam("app"), apps.c.next_number < sa.bindparam("after"))
    .values(next_number=sa.bindparam("after"))
)

# Longer numbers may not fit into 64 bits.
_DIGITS = 18
# Both databases cut digits off the end of a text this way; of another text they must not try to make a number.
_IS_NUMBER = sa.and_(sa.func.rtrim(builds.c.build_id, "0123456789") == "", sa.func.length(builds.c.build_id) <= _DIGITS)
_after = sa.case((_IS_NUMBER, sa.cast(builds.c.build_id, sa.BigInteger))) + 1
_candidates = sa.select(_after.label("number")).where(builds.c.app_id == sa.bindparam("app"), _IS_NUMBER).subquery()
_taken = builds.alias("taken")
_FIRST_FREE = Prepared(
    sa.select(sa.func.min(_candidates.c.number)).where(
        _candidates.c.number > sa.bindparam("taken_number", type_=sa.BigInteger),
        ~sa.exists().where(
            _taken.c.app_id == sa.bindparam("app"), _taken.c.build_id == sa.cast(_candidates.c.number, sa.Text)
        ),
    )
)


def free_number(tx: Tx, app_id: str, number: int) -> int:
    """The first number from this one on that no build of the app has.

    One query finds it: one for each taken number took longer than a request may, if there were thousands.
    """
    while find_builds(tx, app_id, str(number)):
        ((free,),) = _FIRST_FREE.fetch(tx, {"app": app_id, "taken_number": number})
        number = number + 1 if free is None else int(free)
    return number


def reserve_numbers(tx: Tx, numbered: Sequence[Numbered]) -> None:
    """Make sure that the numbers of these builds, and lower ones, are not assigned any more."""
    rows = [{"app": build.app_id, "after": int(build.build_id) + 1} for build in numbered]
    _RAISE_NEXT_NUMBER.run(tx, rows)


def take_number(tx: Tx, app_id: str, job_name: str, standing: Standing) -> int:
    """Assign the app's next number that no build has. A number that is not used afterwards leaves a gap.

    Raises:
        TokenNeededError: see `permitted.check_app`.
    """
    mine = apps.c.app_id == app_id
    lock = sa.select(apps.c.next_number).where(mine).with_for_update(key_share=True)
    number: int | None = tx.execute(lock).scalar()
    check_app(tx, app_id, standing)
    if number is None:
        row = {"app_id": app_id, "api": Api.LEGACY.value, "job_name": job_name, "created_at": tx.now.at}
        tx.execute(insert(apps).on_conflict_do_nothing(index_elements=["app_id"]), row)
        number = tx.execute(lock).scalar_one()
    number = free_number(tx, app_id, number)
    tx.execute(apps.update().where(mine).values(next_number=number + 1))
    return number
