"""The check of `shuttle doctor` that the keys decrypt the secrets in the database, SQLite or PostgreSQL."""

from collections.abc import Sequence

from shuttle.cli.findings import Finding, fine, problem
from shuttle.errors import SettingsError
from shuttle.settings import Settings
from shuttle.vault import open_vault


def examine_key(settings: Settings, sealed: Sequence[bytes]) -> Finding:
    """Check that the settings' keys decrypt `sealed`, samples of the encrypted secrets. No key is made."""
    keys = [key.get_secret_value() for key in settings.shuttle_encryption_keys]
    try:
        open_vault(keys, settings.shuttle_data_dir, sealed, make=False)
    except SettingsError as error:
        return problem("key", error.message)
    return fine(
        "key", "decrypts the secrets in the database." if sealed else "the database has no encrypted secrets yet."
    )
