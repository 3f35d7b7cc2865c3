"""Statuses to failover(…): in order, past members that refuse, hang or are gone."""

from datetime import UTC, datetime, timedelta

import pytest

from shuttle.delivery import Attempt, DueDelivery
from shuttle.delivery.deliver import StatusDelivery
from shuttle.delivery.failover import FailoverStatusSender
from shuttle.delivery.http import HttpStatusSender
from shuttle.delivery.signature import Signer
from shuttle.outgoing.connector import AddressPolicy, outgoing_session
from tests.clock import SetClock
from tests.unit.delivery.dispatching import dispatching
from tests.unit.delivery.status_receiver import answers, hangs, receiving

NOW = datetime.now(UTC)


async def deliver(*urls: str, member: int = 0) -> Attempt:
    async with outgoing_session(AddressPolicy(allow_loopback=True)) as session:
        senders = {"http": HttpStatusSender(session, Signer(()), 0.3)}
        status_delivery = StatusDelivery(senders | {"failover": FailoverStatusSender(senders)}, (0, 5), SetClock(NOW))
        delivery = DueDelivery(
            delivery_id=7,
            receiver_id=1,
            build_uuid="u",
            webhook_id="msg_1",
            sequence=1,
            body=b"{}",
            url=f"failover({', '.join(urls)})",
            member=member,
            queued_steady_at=NOW,
        )
        return await status_delivery.attempt(delivery)


async def test_the_first_that_takes_it_is_the_only_one_that_is_asked():
    async with receiving(answers(200)) as first, receiving(answers(200)) as second:
        attempt = await deliver(first.url, second.url)
        assert (attempt.outcome, attempt.error) == ("delivered", None)
        assert (len(first.senders), len(second.senders)) == (1, 0)


@pytest.mark.parametrize("behaviour", [answers(500), answers(410), hangs])
async def test_the_next_is_asked_when_a_member_does_not_take_it(behaviour):
    async with receiving(behaviour) as first, receiving(answers(200)) as second:
        attempt = await deliver(first.url, second.url)
        assert attempt.outcome == "delivered"
        assert second.senders[0].headers["webhook-id"] == "msg_1"


async def test_one_that_is_gone_does_not_speak_for_the_others():
    async with receiving(answers(410)) as gone, receiving(answers(503)) as down:
        for urls in ((gone.url, down.url), (down.url, gone.url)):
            attempt = await deliver(*urls)
            assert attempt.outcome == "failed"
            assert "answered 410" in str(attempt.error)
            assert "answered 503" in str(attempt.error)
        assert (await deliver(gone.url, gone.url + "/x")).outcome == "gone"


@pytest.mark.parametrize("codes", [(410, 503), (503, 410)])
async def test_one_410_does_not_end_a_failover_of_two_members_on_one_host(codes):
    async def by_path(exchange):
        await exchange.answer(codes[int(exchange.target[1:])])

    async with receiving(by_path) as host:
        attempt = await deliver(f"{host.url}/0", f"{host.url}/1")
    assert attempt.outcome == "failed"
    assert "answered 410" in str(attempt.error)
    assert "answered 503" in str(attempt.error)


@pytest.mark.parametrize(("asked", "until"), [(("120", "60"), 60), (("120", None), None)])
async def test_members_on_one_host_are_asked_again_when_the_first_is_ready(asked, until):
    async def by_path(exchange):
        time = asked[int(exchange.target[1:])]
        await exchange.answer(429, {} if time is None else {"Retry-After": time})

    async with receiving(by_path) as host:
        attempt = await deliver(f"{host.url}/1", f"{host.url}/0")
    assert attempt.asked_until == (None if until is None else NOW + timedelta(seconds=until))


@pytest.mark.parametrize(("asked", "until"), [(("120", "60"), 60), (("120", None), None)])
async def test_when_all_ask_for_patience_the_round_begins_anew_when_the_first_is_ready(asked, until):
    first, second = (answers(429, headers={} if time is None else {"Retry-After": time}) for time in asked)
    async with receiving(first) as one, receiving(second) as other:
        attempt = await deliver(one.url, other.url)
    assert attempt.outcome == "failed"
    assert attempt.asked_until == (None if until is None else NOW + timedelta(seconds=until))


async def test_a_builds_later_statuses_begin_with_the_one_that_took_the_last():
    async with receiving(hangs) as dead, receiving(answers(200)) as second, receiving(answers(200)) as third:
        url = f"failover({dead.url}, {second.url}, {third.url})"
        async with dispatching(SHUTTLE_WEBHOOK_TIMEOUT_SECONDS="1") as running:
            for build, count in (("one", 3), ("two", 1)):
                running.outbox.add_receiver(build, url, "them")
                for _ in range(count):
                    running.outbox.emit(build)
            await running.until_recorded(4)
        assert running.outcomes == ["delivered"] * 4
        asked_in_vain = [exchange.headers["webhook-id"] for exchange in dead.server.exchanges]
        assert sorted(asked_in_vain) == ["msg_one_1", "msg_two_1"]
        assert (len(second.senders), len(third.senders)) == (4, 0)
        moments = [attempt.went_over for attempt in running.outbox.attempts if attempt.went_over is not None]
        assert [(over.member, over.to) for over in moments] == [(1, second.url.removeprefix("http://"))] * 2
        assert "did not answer within the time limit. Went over to" in moments[0].why


async def test_one_before_it_comes_again_when_all_behind_it_have_failed():
    async with receiving(answers(200)) as first, receiving(answers(500)) as second:
        attempt = await deliver(first.url, second.url, member=1)
        assert (attempt.outcome, len(first.senders), len(second.senders)) == ("delivered", 1, 1)
        assert attempt.went_over is not None
        assert attempt.went_over.member == 0
