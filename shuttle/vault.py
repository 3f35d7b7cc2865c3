"""What is secret at rest: sealing with MultiFernet, and fingerprints of requests that only we can compute."""

import hashlib
import hmac
import os
from base64 import urlsafe_b64decode
from collections.abc import Sequence
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from shuttle.errors import SettingsError


class Vault:
    """Seals bytes with the first key and opens them with any; safe for any number of threads."""

    def __init__(self, keys: Sequence[str]) -> None:
        """`keys` are Fernet keys (32 bytes, URL-safe base64); the first one seals."""
        self._fernet = MultiFernet([Fernet(key) for key in keys])
        # A label keeps the fingerprint's key apart from the keys that Fernet derives of the same secret.
        self._fingerprint_keys = [hashlib.sha256(b"fingerprint" + urlsafe_b64decode(key)).digest() for key in keys]

    def seal(self, plain: bytes) -> bytes:
        """Encrypt and authenticate."""
        return self._fernet.encrypt(plain)

    def open(self, sealed: bytes) -> bytes:
        """Decrypt; raises SettingsError when no key of ours sealed it."""
        try:
            return self._fernet.decrypt(sealed)
        except InvalidToken:
            raise SettingsError(
                "The database was sealed with a key that SHUTTLE_ENCRYPTION_KEYS lacks; add it."
            ) from None

    def fingerprint(self, content: bytes) -> str:
        """HMAC-SHA-256 with the first key, as hex: says whether two requests are equal without keeping either."""
        return self._fingerprint(self._fingerprint_keys[0], content)

    def matches(self, content: bytes, fingerprint: str) -> bool:
        """Whether `fingerprint` was made of `content` with any of our keys."""
        return any(hmac.compare_digest(self._fingerprint(key, content), fingerprint) for key in self._fingerprint_keys)

    @staticmethod
    def _fingerprint(key: bytes, content: bytes) -> str:
        return hmac.new(key, content, hashlib.sha256).hexdigest()


def open_vault(keys: Sequence[str], data_dir: Path) -> Vault:
    """The vault of these keys; without any, of the key file (mode 0600) in the data directory, made when missing."""
    return Vault(list(keys) or [_key_of_file(data_dir / "encryption.key")])


def _key_of_file(path: Path) -> str:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    key = Fernet.generate_key()
    with os.fdopen(handle, "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    return key.decode()
