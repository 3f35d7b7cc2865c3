"""The answer to a request: its data, or a sentence about why there is none."""

import json
from email.message import Message
from typing import Any, Optional

from bldst.errors import CommandError


class Answer:
    """Status, headers and body of a response."""

    def __init__(self, status: int, reason: str, headers: Message, content: bytes, host: str) -> None:
        self.status = status
        self.host = host
        self._reason = reason
        self._headers = headers
        self._content = content

    def header(self, name: str) -> Optional[str]:
        """Return a header; its name may have any case."""
        return self._headers.get(name)

    @property
    def succeeded(self) -> bool:
        """Whether the request was done."""
        return 200 <= self.status < 300

    def data(self) -> Any:
        """Return the decoded body; None if there is none.

        Raises:
            CommandError: The body is not JSON.
        """
        if self.status == 204 or not self._content:
            return None
        try:
            return json.loads(self._content.decode("utf-8"))
        except (ValueError, RecursionError):
            raise CommandError(
                "{} did not answer with JSON but with {}: is the address of the service right? It ends in "
                "/-/state".format(self.host, printable(self.header("Content-Type") or "something else"))
            ) from None

    def require_success(self) -> Any:
        """Return the decoded body of a request that was done.

        Raises:
            CommandError: It was refused, or failed.
        """
        if not self.succeeded:
            raise CommandError(self.refusal())
        return self.data()

    @property
    def detail(self) -> str:
        """The service's own words about a request that was not done; empty if the answer is not the service's."""
        try:
            body = self.data()
        except CommandError:
            return ""
        return _detail(body.get("detail", body.get("message"))) if isinstance(body, dict) else ""

    def refusal(self) -> str:
        """Say why the request was not done, and what to do about it."""
        words = self.detail.rstrip(".") or f"{self.host} answered {self.status} {printable(self._reason)}"
        if self.status == 404 and not self.detail:
            return words + ": is the address of the service right? It ends in /-/state"
        if self.status == 401:
            return words + ": set BLDST_API_KEY, or run bldst auth set-key"
        if self.status in (429, 503) and (self.header("Retry-After") or "").isdigit():
            return "{}; try again in {} s".format(words, self.header("Retry-After"))
        return self.detail or words


def printable(text: str) -> str:
    """Replace control characters: what a service sends must not steer a terminal or forge log lines."""
    return "".join(char if char.isprintable() else " " for char in text)


def _detail(detail: Any) -> str:
    """The words of `{"detail": "sentence"}`, and of `{"detail": [{"loc": […], "msg": "…"}]}`."""
    if isinstance(detail, str):
        return printable(detail)
    if not isinstance(detail, list):
        return ""
    lines = []
    for item in detail:
        if isinstance(item, dict):
            location = item.get("loc")
            words = [str(part) for part in location if part != "body"] if isinstance(location, list) else []
            lines.append(
                printable("{}: {}".format(".".join(words), item.get("msg")) if words else str(item.get("msg")))
            )
    return "; ".join(lines)
