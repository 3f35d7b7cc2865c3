"""The fence: a transaction of an app's owner is refused once another replica has taken the app.

A task that works for an app runs in a context that names the app and its epoch. What the task writes to PostgreSQL is
committed only if this process still owns the app in that epoch. Requests of callers and agents have no such context:
they may be served by any replica.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from typing import NamedTuple

import sqlalchemy as sa

from shuttle.errors import NotOwnerError
from shuttle.store.tables import apps
from shuttle.store.tx import Tx


class Ownership(NamedTuple):
    """An app that this process owns; the epoch changes with each change of the owner."""

    app_id: str
    epoch: int


_current: ContextVar[tuple[Ownership, ...]] = ContextVar("owned_apps", default=())


def context_of_owner(owned: Ownership) -> Context:
    """The context for a task that works for the app."""
    context = copy_context()
    context.run(_current.set, (owned,))
    return context


@contextmanager
def as_owner_of(*owned: Ownership) -> Iterator[None]:
    """Run the transactions within as the owner of these apps."""
    token = _current.set(owned)
    try:
        yield
    finally:
        _current.reset(token)


def current_ownership() -> tuple[Ownership, ...]:
    """The apps for which the current task works."""
    return _current.get()


# KEY SHARE conflicts only with the FOR UPDATE of a replica that takes the app, and so with no other transaction.
_OWNED = (
    sa.select(apps.c.app_id, apps.c.epoch)
    .where(apps.c.app_id.in_(sa.bindparam("app_ids", expanding=True)), apps.c.owner == sa.bindparam("instance"))
    .order_by(apps.c.app_id)
    .with_for_update(key_share=True, read=True)
)


def check_owner(tx: Tx, owned: tuple[Ownership, ...]) -> None:
    """Keep other replicas from taking the apps until the transaction ends. Call it last, before the commit.

    Raises:
        NotOwnerError: another replica has taken one of the apps.
    """
    if owned:
        values = {"app_ids": [app_id for app_id, _ in owned], "instance": tx.instance}
        current = {(app_id, epoch) for app_id, epoch in tx.execute(_OWNED, values)}
        if not current.issuperset(owned):
            raise NotOwnerError
