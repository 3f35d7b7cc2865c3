"""The routes between replicas answer to nobody else."""

import pytest

from tests.support.inprocess import Shuttle

pytestmark = pytest.mark.asyncio(loop_scope="module")

UUID = "00000000-0000-4000-8000-000000000000"


@pytest.mark.parametrize(
    ("method", "call"),
    [
        ("GET", "log?offset=0&limit=1&wait=0"),
        ("POST", "log"),
        ("POST", "claim"),
        ("POST", "begin"),
        ("POST", "progress"),
    ],
)
@pytest.mark.parametrize("signature", ["", "2026-01-01T00:00:00+00:00 nonce mac"])
async def test_a_request_without_a_valid_signature_is_refused(idle: Shuttle, method: str, call: str, signature: str):
    answer = await idle.ask(method, f"/-/peers/builds/{UUID}/{call}", headers={"Shuttle-Peer": signature})
    assert (answer.status, answer.json["code"]) == (403, "forbidden")


async def test_a_signed_request_for_an_unknown_build_is_not_found(idle: Shuttle):
    path = f"/-/peers/builds/{UUID}/log?offset=0&limit=1&wait=0"
    signature = idle.services.peers.signature.sign("GET", path)
    answer = await idle.ask("GET", path, headers={"Shuttle-Peer": signature})
    assert answer.status == 404
