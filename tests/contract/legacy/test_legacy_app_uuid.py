"""The uuid of an app must be a UUID: another text could form the id of another app."""

import pytest

from tests.contract.legacy.caller import OK, LegacyApp
from tests.support.inprocess import script_request

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_app_name_and_uuid_cannot_form_the_id_of_a_new_app(waiting: LegacyApp):
    waiting.name, waiting.app_uuid = "web", "api"
    for build_id in (1, 2):
        assert (await waiting.shuttle.post(f"/web-api/{build_id}", script_request())).status == 200
    assert (await waiting.post(waiting.request(3))).status == 400
    assert len((await waiting.shuttle.get("/web-api")).json["builds"]) == 2


@pytest.mark.parametrize(
    "app_uuid", ["api", "5f0c7b9a-3c1d-4e55-9d0a-2b8f6a1c7e1", "{5f0c7b9a-3c1d-4e55-9d0a-2b8f6a1c7e10}", " ", "x" * 36]
)
async def test_invalid_app_uuid_is_refused_with_its_field(waiting: LegacyApp, app_uuid: str):
    answer = await waiting.post(waiting.request(1, app_uuid=app_uuid))
    assert (answer.status, answer.json["code"], answer.json["field"]) == (400, "invalid_request", "app_uuid")


@pytest.mark.parametrize(
    "app_uuid",
    [
        "5f0c7b9a-3c1d-4e55-9d0a-2b8f6a1c7e11",
        "5F0C7B9A-3C1D-4E55-9D0A-2B8F6A1C7E12",
        "5f0c7b9a3c1d4e559d0a2b8f6a1c7e13",
        "5F0C7B9A3C1D4E559D0A2B8F6A1C7E14",
        "00000000-0000-0000-0000-000000000001",
    ],
)
async def test_app_uuid_is_kept_as_written(waiting: LegacyApp, app_uuid: str):
    waiting.app_uuid = app_uuid
    build_uuid = await waiting.submit(3)
    assert (await waiting.record(build_uuid)).app_id == f"shop-{app_uuid}"
    assert (await waiting.status(3)).status == 200
    assert (await waiting.logs(3)).status == 200
    assert (await waiting.stop(3)).body == OK
    assert (await waiting.delete()).body == OK
