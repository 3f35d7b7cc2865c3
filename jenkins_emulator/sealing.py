"""Encryption of password parameters at rest, with a key in the home directory, as in Jenkins."""

import os
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

_KEY_NAME = "secret.key"


class Seal:
    """Encrypts and decrypts short texts; one per home directory."""

    def __init__(self, home: Path) -> None:
        """Read the key of `home`, or make one (mode 0600)."""
        path = home / _KEY_NAME
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            pass
        else:
            with os.fdopen(fd, "wb") as key_file:
                key_file.write(Fernet.generate_key())
        self._fernet = Fernet(path.read_bytes())

    def seal(self, text: str) -> str:
        """Encrypt a text to `{…}`, Jenkins' form of an encrypted value."""
        return "{" + self._fernet.encrypt(text.encode()).decode() + "}"

    def unseal(self, text: str) -> str:
        """Decrypt a text; one that was not encrypted with this key is returned unchanged."""
        if not (text.startswith("{") and text.endswith("}")):
            return text
        try:
            return self._fernet.decrypt(text[1:-1]).decode()
        except InvalidToken:
            return text
