"""A store over an empty database, and the vault of its secrets."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from shuttle.store.store import Store
from shuttle.vault import Vault
from tests.shuttle_store import open_store


@pytest.fixture
def vault() -> Vault:
    return Vault([Fernet.generate_key().decode()])


@pytest.fixture
async def store(tmp_path: Path, vault: Vault) -> AsyncIterator[Store]:
    async with open_store(tmp_path, vault=vault) as opened:
        yield opened
