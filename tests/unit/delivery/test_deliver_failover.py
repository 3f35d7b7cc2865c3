"""Statuses to failover(…): members that refuse, hang or are gone are skipped, in order."""

from datetime import UTC, datetime, timedelta

import pytest

from shuttle.delivery import Attempt, DueDelivery, StatusSender
from shuttle.delivery.deliver import StatusDelivery
from shuttle.delivery.failover import FailoverStatusSender
from shuttle.delivery.http import HttpStatusSender
from shuttle.delivery.signature import Signer
from shuttle.lease import Lease
from shuttle.outgoing.connector import AddressPolicy, outgoing_session
from shuttle.outgoing.endpoints import EndpointKind
from tests.support.clock import SetClock
from tests.unit.delivery.dispatching import dispatching
from tests.unit.delivery.status_receiver import answers, hangs, receiving

NOW = datetime.now(UTC)


async def deliver(*urls: str, member: int = 0) -> Attempt:
    async with outgoing_session(AddressPolicy(allow_loopback=True)) as session:
        senders: dict[EndpointKind, StatusSender] = {EndpointKind.HTTP: HttpStatusSender(session, Signer(()), 0.3)}
        senders[EndpointKind.FAILOVER] = FailoverStatusSender(dict(senders), Lease())
        status_delivery = StatusDelivery(senders, (0, 5), SetClock(NOW))
        delivery = DueDelivery(
            delivery_id=7,
            receiver_id=1,
            app_id="app",
            build_uuid="u",
            webhook_id="msg_1",
            sequence=1,
            body=b"{}",
            url=f"failover({', '.join(urls)})",
            member=member,
            queued_steady_at=NOW,
        )
        return await status_delivery.attempt(delivery)


async def test_only_the_first_member_gets_the_status_if_it_accepts():
    async with receiving(answers(200)) as first, receiving(answers(200)) as second:
        attempt = await deliver(first.url, second.url)
        assert (attempt.outcome, attempt.error) == ("delivered", None)
        assert (len(first.posts), len(second.posts)) == (1, 0)


@pytest.mark.parametrize("behaviour", [answers(500), answers(410), hangs])
async def test_next_member_gets_the_status_if_the_first_does_not_accept(behaviour):
    async with receiving(behaviour) as first, receiving(answers(200)) as second:
        attempt = await deliver(first.url, second.url)
        assert attempt.outcome == "delivered"
        assert second.posts[0].headers["webhook-id"] == "msg_1"


async def test_410_of_one_member_does_not_end_the_delivery():
    async with receiving(answers(410)) as gone, receiving(answers(503)) as down:
        for urls in ((gone.url, down.url), (down.url, gone.url)):
            attempt = await deliver(*urls)
            assert attempt.outcome == "failed"
            assert "answered 410" in str(attempt.error)
            assert "answered 503" in str(attempt.error)
        assert (await deliver(gone.url, gone.url + "/x")).outcome == "gone"


@pytest.mark.parametrize("codes", [(410, 503), (503, 410)])
async def test_410_of_one_of_two_members_on_a_host_does_not_end_the_delivery(codes):
    async def by_path(exchange):
        await exchange.answer(codes[int(exchange.target[1:])])

    async with receiving(by_path) as host:
        attempt = await deliver(f"{host.url}/0", f"{host.url}/1")
    assert attempt.outcome == "failed"
    assert "answered 410" in str(attempt.error)
    assert "answered 503" in str(attempt.error)


@pytest.mark.parametrize(("delays", "until"), [(("120", "60"), 60), (("120", None), None)])
async def test_shortest_retry_after_of_members_on_one_host_counts(delays, until):
    async def by_path(exchange):
        delay = delays[int(exchange.target[1:])]
        await exchange.answer(429, {} if delay is None else {"Retry-After": delay})

    async with receiving(by_path) as host:
        attempt = await deliver(f"{host.url}/1", f"{host.url}/0")
    assert attempt.asked_until == (None if until is None else NOW + timedelta(seconds=until))


@pytest.mark.parametrize(("delays", "until"), [(("120", "60"), 60), (("120", None), None)])
async def test_shortest_retry_after_of_all_members_counts(delays, until):
    first, second = (answers(429, headers={} if delay is None else {"Retry-After": delay}) for delay in delays)
    async with receiving(first) as one, receiving(second) as other:
        attempt = await deliver(one.url, other.url)
    assert attempt.outcome == "failed"
    assert attempt.asked_until == (None if until is None else NOW + timedelta(seconds=until))


async def test_later_statuses_of_a_build_begin_with_the_member_that_accepted_the_last():
    async with receiving(hangs) as dead, receiving(answers(200)) as second, receiving(answers(200)) as third:
        url = f"failover({dead.url}, {second.url}, {third.url})"
        async with dispatching(SHUTTLE_WEBHOOK_TIMEOUT_SECONDS="1") as running:
            for build, count in (("one", 3), ("two", 1)):
                running.outbox.add_receiver(build, url, "them")
                for _ in range(count):
                    running.outbox.emit(build)
            await running.until_recorded(4)
        assert running.outcomes == ["delivered"] * 4
        tried_on_dead = [exchange.headers["webhook-id"] for exchange in dead.server.exchanges]
        assert sorted(tried_on_dead) == ["msg_one_1", "msg_two_1"]
        assert (len(second.posts), len(third.posts)) == (4, 0)
        failovers = [attempt.failed_over for attempt in running.outbox.attempts if attempt.failed_over is not None]
        assert [(each.member, each.to) for each in failovers] == [(1, second.url.removeprefix("http://"))] * 2
        assert "did not answer within the time limit. Failed over to" in failovers[0].why


async def test_earlier_member_is_tried_again_after_all_others_have_failed():
    async with receiving(answers(200)) as first, receiving(answers(500)) as second:
        attempt = await deliver(first.url, second.url, member=1)
        assert (attempt.outcome, len(first.posts), len(second.posts)) == ("delivered", 1, 1)
        assert attempt.failed_over is not None
        assert attempt.failed_over.member == 0
