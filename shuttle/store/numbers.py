"""The numbers of an app's builds, where the older API's clients leave it to us to give them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import sqlalchemy as sa

from shuttle.build import Api
from shuttle.standing import Standing
from shuttle.store.builds import of_pair
from shuttle.store.permitted import check_app
from shuttle.store.tables import apps


class Numbered(Protocol):
    """A build whose id is a number."""

    @property
    def app_id(self) -> str:
        """Its app."""

    @property
    def build_id(self) -> str:
        """The number's digits."""


_COUNT_ON = (
    apps.update()
    .where(apps.c.app_id == sa.bindparam("app"), apps.c.next_number < sa.bindparam("after"))
    .values(next_number=sa.bindparam("after"))
)


def count_on(connection: sa.Connection, numbered: Sequence[Numbered]) -> None:
    """A number that a client chose is not given out again, nor any below it."""
    connection.execute(_COUNT_ON, [{"app": build.app_id, "after": int(build.build_id) + 1} for build in numbered])


def take_number(connection: sa.Connection, app_id: str, job_name: str, standing: Standing, now: datetime) -> int:
    """The app's next number that no build of it has; one that is taken and not used leaves a gap.

    Raises:
        TokenNeededError: see `permitted.check_app`.
    """
    check_app(connection, app_id, standing)
    mine = apps.c.app_id == app_id
    number: int | None = connection.execute(sa.select(apps.c.next_number).where(mine)).scalar()
    if number is None:
        number = 1
        made = {"app_id": app_id, "api": Api.LEGACY.value, "job_name": job_name, "controller": "", "created_at": now}
        connection.execute(apps.insert().values(made))
    while of_pair(connection, app_id, str(number)):
        number += 1
    connection.execute(apps.update().where(mine).values(next_number=number + 1))
    return number
