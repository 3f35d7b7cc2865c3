"""The three webhook headers, after the Standard Webhooks specification."""

from collections.abc import Sequence
from datetime import UTC, datetime
from math import floor

from standardwebhooks import Webhook


class Signer:
    """Names, dates and signs webhooks; `keys` are what SHUTTLE_WEBHOOK_SECRET encodes, without any they are unsigned.

    Several sign in their order, separated by spaces as the specification has it: a receiver that knows one of them
    verifies, so secrets can be changed on the two sides at different times.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._webhooks = [Webhook(key) for key in dict.fromkeys(keys)]

    def headers(self, webhook_id: str, at: datetime, body: bytes) -> dict[str, str]:
        """`webhook-id`, `webhook-timestamp` (of this try, in seconds) and, with secrets, `webhook-signature`."""
        headers = {"webhook-id": webhook_id, "webhook-timestamp": str(floor(at.timestamp()))}
        if self._webhooks:
            # The library reads any other zone's clock face as UTC and signs a wrong instant.
            signed = (webhook.sign(webhook_id, at.astimezone(UTC), body.decode()) for webhook in self._webhooks)
            headers["webhook-signature"] = " ".join(signed)
        return headers
