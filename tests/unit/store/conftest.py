"""A vault for tests of the store."""

import pytest
from cryptography.fernet import Fernet

from shuttle.vault import Vault


@pytest.fixture
def vault() -> Vault:
    return Vault([Fernet.generate_key().decode()])
