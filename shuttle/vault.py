"""What is secret at rest: sealing with MultiFernet, and fingerprints of requests that only we can compute."""

import hashlib
import hmac
import os
from base64 import urlsafe_b64decode
from collections.abc import Sequence
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from shuttle.errors import KeyMissingError, SettingsError


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
        """Decrypt; raises KeyMissingError when no key of ours sealed it."""
        try:
            return self._fernet.decrypt(sealed)
        except InvalidToken:
            raise KeyMissingError(
                "The key that this was sealed with is missing; add it to SHUTTLE_ENCRYPTION_KEYS."
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


def open_vault(keys: Sequence[str], data_dir: Path, sealed: Sequence[bytes], *, make: bool = True) -> Vault:
    """The vault of these keys; without any, of the key file in the data directory.

    `sealed` are samples of what the database holds: a key that does not open them is a wrong one, and beside them no
    new one is made. `make` False: nor anywhere else, a missing key file is then as good as a new one.

    Raises:
        SettingsError: one sentence that says which key has to be restored.
    """
    if keys:
        return _proven(
            Vault(keys), sealed, "SHUTTLE_ENCRYPTION_KEYS lacks the key that the database was sealed with; add it."
        )
    path = data_dir / "encryption.key"
    key = _read_key(path)
    if key is None and sealed:
        raise SettingsError(
            f"{path} holds no key, but the database has secrets that were sealed with one:"
            " restore the file from the backup, or name the key in SHUTTLE_ENCRYPTION_KEYS."
        )
    if key is None:
        key = Fernet.generate_key()
        if make:
            _write_key(path, key)
    wrong = f"{path} is not the key that the database was sealed with: restore the file that belongs to the database."
    return _proven(Vault([key.decode()]), sealed, wrong)


def _proven(vault: Vault, sealed: Sequence[bytes], wrong: str) -> Vault:
    try:
        for sample in sealed:
            vault.open(sample)
    except KeyMissingError:
        raise SettingsError(wrong) from None
    return vault


def _read_key(path: Path) -> bytes | None:
    """None: there is no such file, or no key in it."""
    try:
        key = path.read_bytes().strip()
        Fernet(key)
    except (FileNotFoundError, ValueError):
        return None
    return key


def _write_key(path: Path, key: bytes) -> None:
    """Mode 0600, and whole whenever it is there."""
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
