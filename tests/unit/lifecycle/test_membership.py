"""Membership: when another replica is considered dead, and when it gets a new lease."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from shuttle.errors import OutcomeUnknownError, StoreError
from shuttle.lease import Lease
from shuttle.lifecycle.membership import Membership
from shuttle.lifecycle.owned_apps import OwnedApps
from shuttle.reachability import Reachability
from shuttle.store.fence import Ownership
from shuttle.store.ownership import orphaned_apps, owned_apps, release_apps, take_apps
from shuttle.store.replicas import Replica, raise_counter, remove_replica

MINE = Replica("aaaaaaaa", "a", "http://a", "1", 0, datetime(2026, 1, 1, tzinfo=UTC))
OTHER = replace(MINE, instance="bbbbbbbb", name="b")
HEARTBEAT, LEASE = 5.0, 15.0


class ScriptedDatabase:
    """Answers the queries of a membership: `others` are the other replicas, `orphans` the apps without owner."""

    alone = False
    notifies = False
    takes_apps = True
    instance = MINE.instance

    def __init__(self) -> None:
        self.others = [OTHER]
        self.orphans: dict[str, int] = {}
        self.owned: dict[str, int] = {}
        self.removed: list[Replica] = []
        self.taken: list[str] = []
        self.away = False
        self.released = 0
        self.release_fails = False
        self.answer_is_lost = False
        self.takes_apps = True
        self.answering: Callable[[], None] = lambda: None

    def subscribe(self, topic: Any, callback: Any) -> None:
        pass

    async def run(self, query: Any, *arguments: Any) -> Any:
        await asyncio.sleep(0)
        if self.away:
            raise StoreError("The database does not answer.")
        if query is raise_counter:
            self.answering()
            return [MINE, *self.others]
        if query is remove_replica:
            self.removed.append(arguments[0])
            self.others.remove(arguments[0])
            return True
        if query is orphaned_apps:
            return dict(self.orphans)
        if query is owned_apps:
            return self.owned
        if query is release_apps:
            if self.release_fails:
                raise StoreError("The database does not answer.")
            self.released += 1
            return None
        assert query is take_apps
        found = [app_id for app_id in arguments[0] if self.orphans.pop(app_id, None)]
        self.taken += found
        if self.answer_is_lost:
            self.owned |= dict.fromkeys(found, 2)
            raise OutcomeUnknownError("The database did not answer a COMMIT.")
        return [Ownership(app_id, 2) for app_id in found]


class Looks:
    """A membership whose clock is set by the test; `look` is one turn of its loops."""

    def __init__(self, database: ScriptedDatabase) -> None:
        self.database = database
        self.owned = OwnedApps()
        self.seconds = 1000.0
        self.dropped: list[str] = []
        self.alive: list[list[str]] = []
        self.reachability = Reachability(0, {"a": 0})
        self.lease = Lease(12, lambda: self.seconds)
        self.membership = Membership(
            database,  # type: ignore[arg-type]
            MINE,
            self.owned,
            self.lease,
            heartbeat_seconds=HEARTBEAT,
            lease_seconds=LEASE,
            release_seconds=60,
            on_look=lambda replicas: self.alive.append([replica.name for replica in replicas]),
            reachability=lambda: self.reachability,
        )
        self.membership._clock = lambda: self.seconds

    async def look(self, after_seconds: float = HEARTBEAT) -> None:
        self.seconds += after_seconds
        await self.membership.look(self.dropped.append)
        await self.membership.take_over()


@pytest.fixture
async def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    monkeypatch.setattr("shuttle.lifecycle.membership._SHARE_SECONDS", 0.01)
    return Looks(ScriptedDatabase())


async def test_a_replica_whose_counter_stands_still_for_the_lease_is_removed(looks: Looks):
    for _ in range(3):
        await looks.look()
    assert looks.database.removed == []
    await looks.look()
    assert looks.database.removed == [OTHER]
    assert [replica.name for replica in looks.membership.replicas] == ["a"]


async def test_replica_whose_counter_grows_is_not_removed(looks: Looks):
    for count in range(10):
        looks.database.others = [replace(OTHER, counter=count)]
        await looks.look()
    assert looks.database.removed == []


@pytest.mark.parametrize("gap", ["the database was away", "this process was stopped"])
async def test_every_replica_gets_a_new_lease_after_a_gap(gap: str, looks: Looks):
    await looks.look()
    await looks.look()
    if gap == "the database was away":
        looks.database.away = True
        with pytest.raises(StoreError):
            await looks.look()
        looks.database.away = False
        await looks.look(6)
    else:
        await looks.look(3600)
    await looks.look()
    await looks.look()
    assert looks.database.removed == []
    await looks.look()
    assert looks.database.removed == [OTHER]


async def test_apps_that_were_taken_meanwhile_are_dropped_before_the_lease_is_held_again(looks: Looks):
    await looks.look()
    for app_id in ("kept", "taken", "taken back"):
        looks.owned.add(Ownership(app_id, 1))
    looks.database.owned = {"kept": 1, "taken back": 3}
    held: list[bool] = []
    looks.seconds += 60

    def drop(app_id: str) -> None:
        looks.dropped.append(app_id)
        held.append(looks.lease.is_held)

    await looks.membership.look(drop)
    assert looks.dropped == ["taken", "taken back"]
    assert held == [False, False]
    assert looks.lease.is_held


async def test_apps_that_were_taken_while_the_counter_was_raised_are_dropped(looks: Looks):
    """The process is suspended between its request and the answer. Before, it kept the apps and sent in their name."""
    await looks.look()
    looks.owned.add(Ownership("taken", 1))

    def be_suspended() -> None:
        looks.seconds += 60

    looks.database.answering = be_suspended
    await looks.membership.look(looks.dropped.append)
    assert looks.dropped == ["taken"]
    assert not looks.lease.is_held


async def test_apps_without_owner_are_shared_and_the_rest_is_taken_afterwards(looks: Looks):
    looks.database.orphans = {f"app{number}": 1 for number in range(10)}
    await looks.look()
    assert len(looks.database.taken) == 10
    assert all(app_id in looks.owned for app_id in looks.database.taken)


async def test_work_of_the_own_share_begins_before_the_rest_is_taken(looks: Looks):
    begun: list[int] = []

    async def begin() -> None:
        begun.append(len(looks.database.taken))

    looks.database.orphans = {f"app{number}": 1 for number in range(10)}
    await looks.membership.look(looks.dropped.append)
    await looks.membership.take_over(begin)
    assert begun == [5]
    assert len(looks.database.taken) == 10


async def test_each_look_says_who_is_alive(looks: Looks):
    await looks.look()
    looks.database.others = []
    await looks.look()
    assert looks.alive == [["a", "b"], ["a"]]
    assert not looks.database.notifies


async def test_the_age_of_the_own_counter_grows_while_the_database_is_away(looks: Looks):
    """Before, it was infinite: the metric said nothing."""
    await looks.look()
    looks.database.away = True
    with pytest.raises(StoreError):
        await looks.look()
    assert looks.membership.ages()[0] == (MINE, HEARTBEAT)


async def test_that_a_replica_has_died_is_said_at_once(looks: Looks):
    for _ in range(4):
        await looks.look()
    assert looks.alive[-2:] == [["a", "b"], ["a"]]


@pytest.mark.parametrize("away_seconds", [11, 3600])
async def test_nobody_is_removed_before_the_first_look_after_a_gap(away_seconds: float, looks: Looks):
    """This process was stopped, or the database was away, for longer than the lease of the other one."""
    for _ in range(3):
        await looks.look()
    looks.seconds += away_seconds
    await looks.membership.take_over()
    assert looks.database.removed == []


AWAY = Reachability(70, {"a": 70, "b": 61})


def recorded(reachability: Reachability) -> Replica:
    return replace(OTHER, counter=OTHER.counter + 1, reach=reachability.text())


async def test_replica_without_jenkins_and_object_store_releases_its_apps_until_both_are_back(looks: Looks):
    looks.owned.add(Ownership("app", 1))
    looks.database.owned = {"app": 1}
    looks.reachability, looks.database.others = AWAY, [recorded(Reachability(0, {"a": 0, "b": 300}))]
    looks.database.orphans = {"app": 1}
    await looks.look()
    await looks.look()
    assert (looks.database.released, looks.dropped, looks.database.taken) == (1, ["app"], [])
    assert not looks.database.takes_apps
    looks.reachability = Reachability(0, {"a": 0, "b": 0})
    await looks.look()
    assert (looks.database.released, looks.database.taken) == (1, ["app"])
    assert looks.database.takes_apps


async def test_apps_taken_in_a_transaction_whose_answer_was_lost_are_owned(looks: Looks):
    """Before, the log of an ended build was not sent any more if a sink was all that the app had left to do."""
    looks.database.orphans, looks.database.answer_is_lost = {"app": 1}, True
    with pytest.raises(OutcomeUnknownError):
        await looks.look()
    looks.database.answer_is_lost = False
    await looks.look()
    assert looks.owned.ownership("app") == Ownership("app", 2)


async def test_a_release_that_failed_is_repeated(looks: Looks):
    """Before, the apps stayed with a replica that did nothing for them."""
    looks.owned.add(Ownership("app", 1))
    looks.database.owned = {"app": 1}
    looks.reachability, looks.database.others = AWAY, [recorded(Reachability(0, {"a": 0}))]
    looks.database.release_fails, looks.database.orphans = True, {"other": 1}
    with pytest.raises(StoreError):
        await looks.look()
    looks.database.release_fails = False
    await looks.look()
    assert (looks.database.released, looks.dropped, looks.database.taken) == (1, ["app"], [])


async def test_apps_that_were_being_taken_during_the_release_are_released_as_well(looks: Looks):
    looks.reachability, looks.database.others = AWAY, [recorded(Reachability(0, {"a": 0}))]
    await looks.look()
    looks.owned.add(Ownership("late", 1))  # the transaction had begun before
    await looks.look()
    assert (looks.database.released, looks.dropped) == (2, ["late"])


async def test_a_replica_that_releases_its_apps_takes_none_that_others_left_over(looks: Looks):
    """A replica looks for such apps half a second after it took its share: it may have released them just before."""
    looks.reachability, looks.database.others = AWAY, [recorded(Reachability(0, {"a": 0}))]
    looks.membership._seen = {OTHER.instance: (OTHER, looks.seconds)}
    looks.database.orphans = {"a": 1, "b": 1}
    taking = asyncio.create_task(looks.membership._take_orphans())
    while not looks.database.taken:
        await asyncio.sleep(0)
    await looks.membership.look(looks.dropped.append)
    looks.database.orphans = {"a": 1, "b": 1}
    await taking
    assert len(looks.database.taken) == 1


@pytest.mark.parametrize(
    ("mine", "other"),
    [
        (Reachability(59, {"a": 70}), Reachability(0, {"a": 0})),
        (Reachability(70, {"a": 70, "b": 0}), Reachability(0, {"a": 0})),
        (Reachability(0, {"a": 70}), Reachability(0, {"a": 0})),
        (AWAY, AWAY),
        (AWAY, Reachability(0, {"a": 1})),
        (AWAY, Reachability()),
    ],
    ids=["not long enough", "one controller", "object store", "nor does the other", "other without Jenkins", "unknown"],
)
async def test_replica_keeps_its_apps_unless_it_is_cut_off_and_another_can_run_builds(
    looks: Looks, mine: Reachability, other: Reachability
):
    looks.owned.add(Ownership("app", 1))
    looks.database.owned = {"app": 1}
    looks.reachability, looks.database.others = mine, [recorded(other)]
    await looks.look()
    assert (looks.database.released, looks.dropped) == (0, [])
