"""Signatures of requests between replicas, with keys that are derived from SHUTTLE_ENCRYPTION_KEYS."""

import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from hashlib import sha256

from shuttle.errors import ForbiddenError

HEADER = "Shuttle-Peer"
# Steady time of replicas differs by some seconds, and a request may wait in a queue.
_VALID = timedelta(seconds=60)


class PeerSignature:
    """Signs requests and checks their signatures. Used from one event loop.

    A signature has the instant on steady time, which nobody can set, and a nonce: it is valid once, for a minute.
    """

    def __init__(self, keys: Sequence[bytes], steady: Callable[[], datetime]) -> None:
        """The first key signs; a signature with any of them is valid."""
        self._keys = keys
        self._steady = steady
        self._used: OrderedDict[str, datetime] = OrderedDict()

    def sign(self, method: str, path: str) -> str:
        """The value of the header; `path` includes the query."""
        at, nonce = self._steady().isoformat(), secrets.token_urlsafe(16)
        return f"{at} {nonce} {_mac(self._keys[0], method, path, at, nonce)}"

    def check(self, method: str, path: str, header: str) -> None:
        """Raises ForbiddenError unless a replica has signed the request just now."""
        at, nonce, mac = (*header.split(" "), "", "", "")[:3]
        macs = [_mac(key, method, path, at, nonce) for key in self._keys]
        if not any(hmac.compare_digest(known.encode(), mac.encode("utf-8", "surrogateescape")) for known in macs):
            raise ForbiddenError("Only replicas of this service may call this.")
        now = self._steady()
        while self._used and next(iter(self._used.values())) < now - 2 * _VALID:
            self._used.popitem(last=False)
        if abs(datetime.fromisoformat(at) - now) > _VALID or nonce in self._used:
            raise ForbiddenError("The signature of this replica's request has expired, or was used already.")
        self._used[nonce] = now


def _mac(key: bytes, method: str, path: str, at: str, nonce: str) -> str:
    return hmac.new(key, f"{method} {path} {at} {nonce}".encode("utf-8", "surrogateescape"), sha256).hexdigest()
