"""An empty database, and the vault of its secrets."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from shuttle.store import Database
from shuttle.store.stored_outbox import StoredOutbox
from shuttle.vault import Vault
from tests.clock import SetClock
from tests.shuttle_store import open_database


@pytest.fixture
def vault() -> Vault:
    return Vault([Fernet.generate_key().decode()])


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
async def database(tmp_path: Path, clock: SetClock) -> AsyncIterator[Database]:
    async with open_database(tmp_path, clock) as opened:
        yield opened


@pytest.fixture
def outbox(database: Database, vault: Vault) -> StoredOutbox:
    return StoredOutbox(database, vault)
