"""The three webhook headers of the Standard Webhooks specification."""

from collections.abc import Sequence
from datetime import UTC, datetime
from math import floor

from standardwebhooks import Webhook


class Signer:
    """Makes the headers of webhooks. `keys` are those of SHUTTLE_WEBHOOK_SECRET; without any, webhooks are unsigned.

    With several keys there is a signature by each, in their order, separated by spaces as the specification says. A
    receiver needs only one of the secrets, so the two sides can change them at different times.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._webhooks = [Webhook(key) for key in dict.fromkeys(keys)]

    def headers(self, webhook_id: str, at: datetime, body: bytes) -> dict[str, str]:
        """`webhook-id`, `webhook-timestamp` (of this attempt, in seconds) and, with keys, `webhook-signature`."""
        headers = {"webhook-id": webhook_id, "webhook-timestamp": str(floor(at.timestamp()))}
        if self._webhooks:
            # The library ignores the zone of an instant and reads it as UTC, so it has to get UTC.
            signed = (webhook.sign(webhook_id, at.astimezone(UTC), body.decode()) for webhook in self._webhooks)
            headers["webhook-signature"] = " ".join(signed)
        return headers
