"""The webhook headers."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from shuttle.delivery.signature import Signer
from shuttle.errors import SettingsError
from shuttle.settings import load_settings

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ANOTHER = "whsec_" + "WHla" * 8


def keys_of(secret):
    return load_settings({"SHUTTLE_WEBHOOK_SECRET": secret}).webhook_keys


BODY = '{"id":"ä"}'.encode()


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=5, minutes=30))])
@pytest.mark.parametrize("secret", [SECRET, SECRET.removeprefix("whsec_"), "YWJjZA" * 8])
def test_receiver_can_verify_the_signature_in_any_time_zone(zone, secret):
    headers = Signer(keys_of(secret)).headers("msg_1", datetime.now(zone), BODY)
    assert headers["webhook-id"] == "msg_1"
    assert Webhook(secret).verify(BODY, headers) == {"id": "ä"}
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(BODY + b" ", headers)


def test_signature_matches_the_example_of_the_specification():
    headers = Signer(keys_of(SECRET)).headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", datetime.fromtimestamp(1614265330, UTC), b'{"test": 2432232314}'
    )
    assert headers["webhook-timestamp"] == "1614265330"
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("secrets", [f"{SECRET},{ANOTHER}", f" {ANOTHER} , {SECRET},", f"{SECRET},{SECRET},{ANOTHER}"])
def test_receiver_with_any_of_several_secrets_can_verify_the_signature(secrets):
    headers = Signer(keys_of(secrets)).headers("msg_1", datetime.now(UTC), BODY)
    signatures = headers["webhook-signature"].split(" ")
    assert len(signatures) == 2
    first = secrets.strip().partition(",")[0].strip()
    assert Webhook(first).verify(BODY, {**headers, "webhook-signature": signatures[0]})
    for secret in (SECRET, ANOTHER):
        assert Webhook(secret).verify(BODY, headers) == {"id": "ä"}
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + "YWJj" * 8).verify(BODY, headers)


def test_there_is_no_signature_without_a_secret():
    assert set(Signer(keys_of("")).headers("msg_1", datetime.now(UTC), BODY)) == {"webhook-id", "webhook-timestamp"}


@pytest.mark.parametrize(
    "secret", ["whsec_", "not base64!", "whsec_a", "ä", ",", f"{SECRET},whsec_a", f"{SECRET},{'A' * 31}"]
)
def test_unusable_secret_is_refused_at_start_and_not_shown(secret):
    with pytest.raises(SettingsError, match="SHUTTLE_WEBHOOK_SECRET") as caught:
        keys_of(secret)
    assert secret.removeprefix("whsec_") in {"", "a", ","} or secret not in str(caught.value)
