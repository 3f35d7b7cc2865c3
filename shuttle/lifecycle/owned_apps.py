"""The apps that this process owns: only their builds run here, and only their logs and statuses are sent from here."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from contextvars import Context

from shuttle.errors import NotOwnerError
from shuttle.lifecycle.owner_waits import OwnerWaits
from shuttle.store.fence import Ownership, context_of_owner


class OwnedApps:
    """What this process knows of its apps. The database decides: a transaction for a lost app raises NotOwnerError."""

    def __init__(self) -> None:
        self._epochs: dict[str, int] = {}
        self._on_lost: list[Callable[[str], None]] = []
        self._waits = OwnerWaits()

    def subscribe(self, on_lost: Callable[[str], None]) -> None:
        """Call `on_lost` with each app that is lost, also with one that this process has taken again meanwhile."""
        self._on_lost.append(on_lost)

    def add(self, owned: Ownership) -> None:
        """The app was taken, or this process has accepted a build of it."""
        if self._epochs.get(owned.app_id, owned.epoch) != owned.epoch:
            self.drop(owned.app_id)  # another process has owned it since
        self._epochs[owned.app_id] = owned.epoch

    def drop(self, app_id: str) -> None:
        """The app is no longer this process's."""
        if self._epochs.pop(app_id, None) is not None:
            for on_lost in self._on_lost:
                on_lost(app_id)
            self._waits.end(lambda waits_for: waits_for == app_id)

    def clear(self) -> Iterable[str]:
        """All apps are released; returns them."""
        released = [*self._epochs]
        for app_id in released:
            self.drop(app_id)
        return released

    def __len__(self) -> int:
        return len(self._epochs)

    def __contains__(self, app_id: str) -> bool:
        return app_id in self._epochs

    def ownership(self, app_id: str) -> Ownership | None:
        """The app with its epoch; None = another process owns it, or nobody."""
        epoch = self._epochs.get(app_id)
        return None if epoch is None else Ownership(app_id, epoch)

    def context(self, app_id: str) -> Context | None:
        """The context for a task that works for the app; None = another process owns it, or nobody."""
        owned = self.ownership(app_id)
        return None if owned is None else context_of_owner(owned)

    @asynccontextmanager
    async def while_owned(self, app_id: str) -> AsyncIterator[None]:
        """End the block with NotOwnerError as soon as the app is lost, or at once if it is not this process's.

        For what may wait long while the app's next owner could already answer.
        """
        if app_id not in self:
            raise NotOwnerError
        async with self._waits.waiting(app_id):
            yield

    def lost(self, owned_now: dict[str, int]) -> Iterable[str]:
        """The apps that are not among these, or have another epoch."""
        return [app_id for app_id, epoch in self._epochs.items() if owned_now.get(app_id) != epoch]
