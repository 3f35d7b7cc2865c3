"""Encryption at rest with MultiFernet, and keyed fingerprints of requests."""

import hashlib
import hmac
import os
from base64 import urlsafe_b64decode
from collections.abc import Sequence
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from shuttle.errors import KeyMissingError, SettingsError

_KEY_FILE = "encryption.key"


class Vault:
    """Encrypts with the first key and decrypts with any key; thread-safe."""

    def __init__(self, keys: Sequence[str]) -> None:
        """`keys` are Fernet keys (32 bytes, URL-safe base64); the first one encrypts."""
        self._fernet = MultiFernet([Fernet(key) for key in keys])
        # The label separates the fingerprint's key from the keys that Fernet derives from the same secret.
        self._fingerprint_keys = [hashlib.sha256(b"fingerprint" + urlsafe_b64decode(key)).digest() for key in keys]

        self._keys = [urlsafe_b64decode(key) for key in keys]

    def derived_keys(self, purpose: str) -> list[bytes]:
        """A key for another purpose from each of the keys."""
        return [hmac.new(key, purpose.encode(), hashlib.sha256).digest() for key in self._keys]

    def seal(self, plain: bytes) -> bytes:
        """Encrypt and authenticate."""
        return self._fernet.encrypt(plain)

    def open(self, sealed: bytes) -> bytes:
        """Decrypt; raises KeyMissingError if none of the keys encrypted it."""
        try:
            return self._fernet.decrypt(sealed)
        except InvalidToken:
            raise KeyMissingError(
                "The key of an encrypted secret is missing; add that key to SHUTTLE_ENCRYPTION_KEYS."
            ) from None

    def fingerprint(self, content: bytes) -> str:
        """HMAC-SHA-256 with the first key, in hex: compares requests without storing them."""
        return self._fingerprint(self._fingerprint_keys[0], content)

    def matches(self, content: bytes, fingerprint: str) -> bool:
        """Whether `fingerprint` is that of `content` with any of the keys."""
        return any(hmac.compare_digest(self._fingerprint(key, content), fingerprint) for key in self._fingerprint_keys)

    @staticmethod
    def _fingerprint(key: bytes, content: bytes) -> str:
        return hmac.digest(key, content, "sha256").hex()


def open_vault(keys: Sequence[str], data_dir: Path, sealed: Sequence[bytes], *, make: bool = True) -> Vault:
    """The vault with these keys, or if there are none, with the key file in the data directory.

    `sealed` are samples from the database. A key that does not decrypt them is refused, and if there are any, no new
    key is made. If `make` is False, no key file is written: if it is missing, the vault has a new key that is not kept.

    Raises:
        SettingsError: one sentence that says which key has to be restored.
    """
    if keys:
        return _proven(
            Vault(keys), sealed, "SHUTTLE_ENCRYPTION_KEYS lacks the key that the database was encrypted with; add it."
        )
    path = data_dir / _KEY_FILE
    key = _read_key(path)
    if key is None and sealed:
        raise SettingsError(
            f"{path} has no key, but the database has secrets that were encrypted with one:"
            " restore the file from the backup, or name the key in SHUTTLE_ENCRYPTION_KEYS."
        )
    if key is None:
        key = Fernet.generate_key()
        if make:
            _write_key(path, key)
    wrong = (
        f"{path} is not the key that the database was encrypted with: restore the file that belongs to the database."
    )
    return _proven(Vault([key.decode()]), sealed, wrong)


def read_key_file(data_dir: Path) -> str | None:
    """The key in the data directory's key file; None = there is none."""
    key = _read_key(data_dir / _KEY_FILE)
    return None if key is None else key.decode()


def _proven(vault: Vault, sealed: Sequence[bytes], wrong: str) -> Vault:
    try:
        for sample in sealed:
            vault.open(sample)
    except KeyMissingError:
        raise SettingsError(wrong) from None
    return vault


def _read_key(path: Path) -> bytes | None:
    """The key in the file; None if the file is missing or has no key."""
    try:
        key = path.read_bytes().strip()
        Fernet(key)
    except (FileNotFoundError, ValueError):
        return None
    return key


def _write_key(path: Path, key: bytes) -> None:
    """Write the key file atomically, with mode 0600."""
    written = path.with_suffix(".new")
    written.unlink(missing_ok=True)
    handle = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    written.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
