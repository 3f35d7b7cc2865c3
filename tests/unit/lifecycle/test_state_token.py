"""The state token of a build: it opens its record, and the log masks it, also after another key became the first."""

from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from jenkins_pipelines.catalogue import PIPELINES
from shuttle.lifecycle.build_spec import make_spec, read_spec
from shuttle.lifecycle.state_token import build_of_token, state_token
from shuttle.request import parse_build_request
from shuttle.settings import load_settings
from shuttle.standing import Standing
from shuttle.vault import Vault
from tests.support.inprocess import script_request
from tests.support.shuttle_store import new_build, open_database, record

OLD, NEW = (Fernet.generate_key().decode() for _ in range(2))
UUID = "0bf1e5ac-0f0b-4f0c-9a54-21d1b3ee6a11"


def test_token_of_an_earlier_key_is_known():
    token = state_token(UUID, Vault([OLD]))
    assert build_of_token(token, Vault([NEW, OLD])) == UUID
    assert build_of_token(token, Vault([NEW])) is None


@pytest.mark.parametrize("token", ["", "bst_", f"bst_{UUID}", f"bst_{UUID}_", f"bst_{UUID}_é", f"{UUID}_0"])
def test_other_texts_are_no_token(token: str):
    assert build_of_token(token, Vault([OLD])) is None


async def test_log_masks_the_tokens_by_all_keys(tmp_path: Path):
    old, both, settings = Vault([OLD]), Vault([NEW, OLD]), load_settings({})
    spec = make_spec(parse_build_request(script_request(), settings, PIPELINES).request, Standing.CONTROLLER, settings)
    new = new_build(old, plan=old.seal(spec.model_dump_json().encode()), build_uuid=UUID)
    async with open_database(tmp_path) as database:
        await record(database, old, new)
        rules = (await read_spec(UUID, database, both)).log_rules
    assert {state_token(UUID, old), state_token(UUID, both)} <= set(rules.secrets)
