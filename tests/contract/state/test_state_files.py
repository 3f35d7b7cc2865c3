"""Files that are uploaded to the record of a build below `/-/state`."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from shuttle.lifecycle.state_token import state_token
from tests.contract.state.conftest import CONTROLLER, READER
from tests.support.inprocess import Shuttle, running_shuttle

pytestmark = pytest.mark.asyncio(loop_scope="module")
BUILDS = "/-/state/builds"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def state(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shuttle]:
    """A service with small limits."""
    limits = {"SHUTTLE_MAX_ARTIFACT_BYTES": "100", "SHUTTLE_MAX_ARTIFACTS_BYTES": "195"}
    tokens = f"controller:{CONTROLLER},reader:{READER}"
    async with running_shuttle(tmp_path_factory.mktemp("state"), SHUTTLE_TOKENS=tokens, **limits) as shuttle:
        shuttle.headers = {"X-API-Key": CONTROLLER}
        yield shuttle


async def new_build(state: Shuttle, name: str) -> str:
    return str((await state.ask("POST", BUILDS, json={"build_number": name})).json["id"])


async def test_file_is_replaced_and_keeps_within_the_limits(state: Shuttle, name: str):
    path = f"{BUILDS}/{await new_build(state, name)}/artifacts"
    sent = [
        await state.ask("PUT", f"{path}/{file}/content", data=b"x" * size)
        for file, size in (("a", 100), ("a", 90), ("b", 101), ("b", 100), ("c", 6))
    ]
    assert [answer.status for answer in sent] == [201, 200, 413, 201, 409]
    assert (await state.get(f"{path}/a/content")).body == b"x" * 90
    listed = (await state.get(path)).json
    assert [(each["artifact_name"], each["size_bytes"]) for each in listed] == [("a", 90), ("b", 100)]


@pytest.mark.parametrize(
    ("file", "query", "status"),
    [("..", "", 400), ("a%2F..%2Fb", "", 400), ("a%00", "", 400), ("a", "?state_code=x", 422), ("a%2Fb", "", 201)],
)
async def test_name_cannot_leave_its_folder(state: Shuttle, name: str, file: str, query: str, status: int):
    path = f"{BUILDS}/{await new_build(state, name)}/artifacts/{file.replace('..', '%2E%2E')}/content{query}"
    answer = await state.ask("PUT", path, data=b"x")
    assert answer.status == status, answer.text
    if status == 201:
        assert (await state.get(path)).body == b"x"


async def test_only_those_who_may_write_the_record_upload(state: Shuttle, name: str):
    uuid, other = await new_build(state, name), await new_build(state, f"{name}-other")
    own = state_token(uuid, state.services.vault)
    for build, key, status in ((uuid, own, 201), (other, own, 403), (uuid, READER, 403), (uuid, "x" * 20, 401)):
        path = f"{BUILDS}/{build}/artifacts/a/content"
        assert (await state.ask("PUT", path, data=b"x", headers={"X-API-Key": key})).status == status


async def test_failed_build_takes_files_and_a_completed_one_does_not(state: Shuttle, name: str):
    uuid = await new_build(state, name)
    path = f"{BUILDS}/{uuid}/artifacts/a/content"
    await state.ask("PUT", f"{BUILDS}/{uuid}", json={"status": "failed"})
    assert (await state.ask("PUT", path, data=b"x")).status == 201
    successor = (await state.ask("POST", f"{BUILDS}/{uuid}/resume", json={})).json["resumed_build_id"]
    of_successor = await state.ask("PUT", path, data=b"y")
    assert (of_successor.status, of_successor.json["build_id"]) == (201, successor)
    assert (await state.get(path)).body == b"x"
    await state.ask("PUT", f"{BUILDS}/{successor}", json={"status": "completed"})
    refused = await state.ask("PUT", path, data=b"z")
    assert refused.status == 400
    assert (await state.get(f"{BUILDS}/{successor}/artifacts/a/content")).body == b"y"


async def test_reference_has_no_content_and_takes_none(state: Shuttle, name: str):
    path = f"{BUILDS}/{await new_build(state, name)}/artifacts"
    await state.ask("POST", path, json={"artifact_name": "ami", "artifact_path": "aws://ami-1"})
    assert (await state.get(f"{path}/ami/content")).status == 409
    assert (await state.get(f"{path}/none/content")).status == 404
    assert (await state.ask("PUT", f"{path}/ami/content", data=b"x")).status == 409
