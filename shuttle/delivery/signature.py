"""The three webhook headers, after the Standard Webhooks specification."""

from datetime import UTC, datetime
from math import floor

from standardwebhooks import Webhook


class Signer:
    """Names, dates and signs webhooks; `key` is what SHUTTLE_WEBHOOK_SECRET encodes, without one they are unsigned."""

    def __init__(self, key: bytes | None) -> None:
        self._webhook = None if key is None else Webhook(key)

    def headers(self, webhook_id: str, at: datetime, body: bytes) -> dict[str, str]:
        """`webhook-id`, `webhook-timestamp` (of this try, in seconds) and, with a secret, `webhook-signature`."""
        headers = {"webhook-id": webhook_id, "webhook-timestamp": str(floor(at.timestamp()))}
        if self._webhook is not None:
            # The library reads any other zone's clock face as UTC and signs a wrong instant.
            headers["webhook-signature"] = self._webhook.sign(webhook_id, at.astimezone(UTC), body.decode())
        return headers
