"""One attempt of one delivery, with receivers that work and receivers that do not."""

import asyncio
import base64
import socket
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook

from shuttle.delivery import Attempt, DueDelivery
from shuttle.delivery.deliver import StatusDelivery
from shuttle.delivery.http import HttpStatusSender
from shuttle.delivery.signature import Signer
from shuttle.outgoing.connector import AddressPolicy, outgoing_session
from shuttle.outgoing.endpoints import EndpointKind, PayloadFormat
from shuttle.settings import load_settings
from tests.support.certificates import loopback_tls
from tests.support.clock import SetClock
from tests.support.receivers import Receiver, answering
from tests.unit.delivery.status_receiver import answers, hangs, raw_server, receiving, resets

NOW = datetime.now(UTC)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


async def deliver(
    url: str,
    *,
    headers=None,
    timeout_seconds: float = 5,
    tries=0,
    allow_loopback=True,
    payload_format: PayloadFormat = PayloadFormat.STANDARD,
    times=1,
    unsendable: str | None = None,
) -> Attempt:
    """The last of `times` attempts, one after the other in one session."""
    async with outgoing_session(AddressPolicy(allow_loopback=allow_loopback)) as session:
        signer = Signer(load_settings({"SHUTTLE_WEBHOOK_SECRET": SECRET}).webhook_keys)
        status_delivery = StatusDelivery(
            {EndpointKind.HTTP: HttpStatusSender(session, signer, timeout_seconds)}, (0, 5, 60), SetClock(NOW)
        )
        delivery = DueDelivery(
            delivery_id=7,
            receiver_id=1,
            app_id="app",
            build_uuid="u",
            webhook_id="msg_1",
            sequence=1,
            body=b'{"status":"queued"}',
            url=url,
            headers=headers or {},
            payload_format=payload_format,
            tries=tries,
            unsendable=unsendable,
            queued_steady_at=NOW,
        )
        for _ in range(times - 1):
            await status_delivery.attempt(delivery)
        return await status_delivery.attempt(delivery)


async def test_post_has_the_body_headers_credentials_and_signature():
    async with receiving(answers(200)) as receiver:
        url = receiver.url.replace("http://", "http://us%40er:p%3Aw@")
        attempt = await deliver(f"{url}/a%2Fb?x=%20y%2Fz%7e", headers={"X-Key": "abc", "user-agent": "mine"})
    (post,) = receiver.posts
    assert (post.path, post.body) == ("/a%2Fb?x=%20y%2Fz%7e", b'{"status":"queued"}')
    assert post.headers["Content-Type"] == "application/json"
    assert post.headers["Authorization"] == f"Basic {base64.b64encode(b'us@er:p:w').decode()}"
    assert (post.headers["X-Key"], post.headers.getall("User-Agent")) == ("abc", ["mine"])
    assert post.headers["webhook-id"] == "msg_1"
    # Not with `verify`, which refuses timestamps older than 5 minutes: the suite may have been imported before that.
    assert post.headers["webhook-timestamp"] == str(int(NOW.timestamp()))
    assert post.headers["webhook-signature"] == Webhook(SECRET).sign("msg_1", NOW, post.body.decode())
    assert (attempt.delivery_id, attempt.outcome, attempt.status_code) == (7, "delivered", 200)
    assert (attempt.error, attempt.next_attempt_at, attempt.started_at) == (None, None, NOW)
    assert attempt.took_seconds > 0


async def test_token_in_the_url_is_sent_as_a_user_without_password():
    async with receiving(answers(204)) as receiver:
        await deliver(receiver.url.replace("http://", "http://token@"))
    assert receiver.posts[0].headers["Authorization"] == f"Basic {base64.b64encode(b'token:').decode()}"


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(200, "delivered"), (201, "delivered"), (299, "delivered"), (410, "gone")]
    + [(status, "failed") for status in (300, 301, 302, 304, 307, 308, 400, 401, 404, 429, 500, 503, 599)],
)
async def test_status_code_decides_the_outcome(status, outcome):
    async with (
        receiving(answers(200)) as other,
        receiving(answers(status, headers={"Location": other.url})) as receiver,
    ):
        attempt = await deliver(receiver.url)
    assert (attempt.outcome, attempt.status_code) == (outcome, status)
    assert (attempt.error is None) == (outcome == "delivered")
    assert (attempt.next_attempt_at is not None) == (outcome == "failed")
    assert other.posts == []


@pytest.mark.parametrize("status", [429, 503, 500, 404, 301])
async def test_retry_after_is_honoured(status):
    async with receiving(answers(status, headers={"Retry-After": "120"})) as receiver:
        attempt = await deliver(receiver.url)
    assert attempt.asked_until == NOW + timedelta(seconds=120)
    assert attempt.next_attempt_at is not None
    assert 120 <= (attempt.next_attempt_at - NOW).total_seconds() <= 120 * 1.1


async def test_retry_after_is_ignored_when_the_status_was_accepted():
    async with receiving(answers(200, headers={"Retry-After": "120"})) as receiver:
        attempt = await deliver(receiver.url)
    assert (attempt.outcome, attempt.asked_until) == ("delivered", None)


async def test_callback_of_the_older_api_waits_at_most_half_an_hour():
    async with receiving(answers(429, headers={"Retry-After": "86400"})) as receiver:
        attempt = await deliver(receiver.url, payload_format=PayloadFormat.LEGACY)
    assert (attempt.outcome, attempt.asked_until) == ("failed", NOW + timedelta(seconds=1800))


async def test_delivery_gives_up_when_the_schedule_is_exhausted():
    async with receiving(answers(500)) as receiver:
        assert (await deliver(receiver.url, tries=1)).outcome == "failed"
        last = await deliver(receiver.url, tries=2)
    assert (last.outcome, last.next_attempt_at, last.error) == ("gave_up", None, "The receiver answered 500.")


async def test_receiver_that_hangs_times_out():
    async with receiving(hangs) as receiver:
        attempt = await deliver(receiver.url, timeout_seconds=0.05)
    assert (attempt.outcome, attempt.error) == ("failed", "The receiver did not answer within the time limit.")
    assert 0.05 <= attempt.took_seconds < 10


async def test_endless_response_head_times_out():
    async def drip(writer):
        while True:
            writer.write(b"X")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with raw_server(b"HTTP/1.1 200 OK\r\nX-Long: ", then=drip) as url:
        attempt = await deliver(url, timeout_seconds=0.1)
    assert (attempt.outcome, attempt.took_seconds < 20) == ("failed", True)


async def test_2xx_counts_even_if_its_body_hangs_or_breaks(monkeypatch):
    async def drip(writer):
        while True:
            writer.write(b"1\r\nx\r\n")
            await writer.drain()
            await asyncio.sleep(0.01)

    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with raw_server(head, then=drip) as url:
        attempt = await deliver(url, timeout_seconds=0.1)
    assert (attempt.outcome, attempt.took_seconds < 20) == ("delivered", True)
    # A long timeout does not help the body either: the build's next status waits for it.
    monkeypatch.setattr("shuttle.delivery.http._MAX_BODY_SECONDS", 0.1)
    async with raw_server(head, then=drip) as url:
        attempt = await deliver(url, timeout_seconds=3600)
    assert (attempt.outcome, attempt.took_seconds < 20) == ("delivered", True)
    async with raw_server(b"HTTP/1.1 202 OK\r\nContent-Length: 99\r\n\r\ncut") as url:
        assert (await deliver(url)).outcome == "delivered"


async def test_endless_response_body_is_not_read():
    sent_bytes = 0

    async def flood(writer):
        nonlocal sent_bytes
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()
            sent_bytes += 65536

    async with raw_server(b"HTTP/1.1 500 No\r\n\r\n", then=flood) as url:
        attempt = await deliver(url)
    assert (attempt.outcome, attempt.status_code) == ("failed", 500)
    assert sent_bytes < 32 * 1024 * 1024


@pytest.mark.parametrize("raw", [b"", b"HTTP/1.1 200", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000])
async def test_unreadable_answer_is_a_failure(raw):
    async with raw_server(raw) as url:
        attempt = await deliver(url)
    assert (attempt.outcome, attempt.status_code) == ("failed", None)
    assert attempt.error is not None
    assert attempt.error.endswith(".")


async def test_connection_errors_are_described():
    async with receiving(resets) as receiver:
        assert (await deliver(receiver.url)).error == "The receiver closed the connection without an answer."

    async def answers_without_tls(reader, writer):
        await reader.read(65536)
        writer.write(b"HTTP/1.1 400 No\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answers_without_tls, "127.0.0.1", 0) as plain:
        tls = await deliver(f"https://127.0.0.1:{plain.sockets[0].getsockname()[1]}/")
    assert tls.error == "The TLS handshake with the receiver failed."
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    refused = await deliver(f"http://127.0.0.1:{port}/secret-path")
    assert refused.outcome == "failed"
    assert refused.error == "The receiver cannot be reached: Connection refused."
    unknown = await deliver("http://no-such-host.invalid/secret-path")
    assert unknown.error == "The receiver's host name could not be resolved."


@pytest.mark.parametrize("reset", [False, True])
async def test_kept_connection_closed_by_the_receiver_is_replaced_at_once(reset):
    async def hangs_up(exchange):
        await exchange.read_all()
        exchange.hang_up(reset=reset)

    async with Receiver(answering(200), hangs_up, answering(204)) as receiver:
        attempt = await deliver(receiver.url, times=2)
    assert (attempt.outcome, attempt.status_code) == ("delivered", 204)
    assert {exchange.headers["webhook-id"] for exchange in receiver.exchanges} == {"msg_1"}


async def test_new_connection_closed_by_the_receiver_is_a_failed_attempt():
    async def hangs_up(exchange):
        await exchange.read_all()
        exchange.hang_up()

    async with Receiver(answering(200), hangs_up) as receiver:
        attempt = await deliver(receiver.url, times=2)
    assert (attempt.outcome, len(receiver.exchanges)) == ("failed", 3)


async def test_error_for_an_untrusted_certificate_names_the_setting(tmp_path):
    context, _ = loopback_tls(tmp_path)
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=context) as server:
        attempt = await deliver(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    assert attempt.outcome == "failed"
    assert "SHUTTLE_CA_FILE" in str(attempt.error)


async def test_forbidden_addresses_are_not_connected_to():
    async with receiving(answers(200)) as receiver:
        attempt = await deliver(receiver.url, allow_loopback=False)
    assert receiver.posts == []
    assert attempt.outcome == "failed"
    assert "SHUTTLE_ALLOW_NETWORKS" in str(attempt.error)
    assert "secret" not in str((await deliver("http://u:secret@2130706433/secret")).error)


async def test_unsendable_delivery_is_retried_on_its_schedule_without_being_sent():
    for tries, outcome in ((0, "failed"), (2, "gave_up")):
        attempt = await deliver("", unsendable="The key is missing.", tries=tries)
        assert (attempt.outcome, attempt.status_code, attempt.error) == (outcome, None, "The key is missing.")
