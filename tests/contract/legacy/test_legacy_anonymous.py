"""SHUTTLE_LEGACY_ANONYMOUS gives access to builds of the older API in apps of the older API, and to nothing else."""

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from shuttle.store.apps import deleted_apps
from tests.contract.legacy.caller import OK, LegacyApp
from tests.support.answer import Answer
from tests.support.inprocess import Shuttle, running_shuttle, script_request
from tests.support.product import data_url

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONTROLLER = "controller-token-1"
TOKEN = {"Authorization": f"Bearer {CONTROLLER}"}
SECRET = b"only token holders read this"
WAITING = {"recorded", "staging"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shuttle]:
    """A shuttle whose Jenkins is down: builds are accepted and staged, and wait."""
    folder = tmp_path_factory.mktemp("opened")
    tokens = f"controller:{CONTROLLER}"
    async with running_shuttle(folder, SHUTTLE_TOKENS=tokens, SHUTTLE_LEGACY_ANONYMOUS="true") as shuttle:
        yield shuttle


@pytest.fixture
def app(opened: Shuttle) -> LegacyApp:
    return LegacyApp(opened)


async def new_build(app: LegacyApp, build_id: object) -> str:
    """A build that a token holder requests by the new API in this app; returns its uuid."""
    source = {"url": data_url({"build.sh": f"#!/bin/sh\n# {SECRET.decode()}\n"})}
    answer = await app.shuttle.post(app.path(build_id), {**script_request(), "source": source}, headers=TOKEN)
    assert answer.status == 200, answer.body
    return await newest_uuid(app, build_id)


async def newest_uuid(app: LegacyApp, build_id: object) -> str:
    answer = await app.shuttle.get(app.path(build_id), headers=TOKEN)
    return str(answer.json["build_uuid"])


async def state_of(app: LegacyApp, build_uuid: str) -> str:
    return (await app.record(build_uuid)).state.value


def needs_token(answer: Answer) -> bool:
    return answer.status == 401 and answer.json["code"] == "unauthorized" and "WWW-Authenticate" in answer.headers


async def test_anonymous_post_for_a_pair_of_a_new_app_is_refused_and_leaves_no_trace(app: LegacyApp):
    new = await new_build(app, 7)
    for number in (7, 8, None):
        refused = await app.post(app.request(number))
        assert needs_token(refused)
        assert refused.json["field"] == "app"
    assert (await app.stop(7)).status == 401
    assert await state_of(app, new) in WAITING
    listed = (await app.shuttle.get(f"/{app.app_id}", headers=TOKEN)).json["builds"]
    assert [build["build_uuid"] for build in listed] == [new]


async def test_refused_anonymous_post_does_not_take_the_new_apps_number(app: LegacyApp):
    await new_build(app, "first")
    for _ in range(3):
        assert needs_token(await app.post(app.request(None)))
    body = app.request(None)
    assert (await app.post(body, headers=TOKEN)).status == 200
    assert (await app.record(body["build_uuid"])).build_id == "1"


async def test_refused_anonymous_post_leaves_objects_of_that_uuid_alone(app: LegacyApp):
    """Sources of the old shuttle are only known by their names in the bucket."""
    await new_build(app, 1)
    body = app.request(2)
    folder = app.shuttle.data / "objects"
    folder.mkdir(exist_ok=True)
    (folder / body["build_uuid"]).write_bytes(b"of the old shuttle")
    assert needs_token(await app.post(body))
    assert (await app.shuttle.get(f"/{body['build_uuid']}")).body == b"of the old shuttle"


async def test_anonymous_stop_of_a_shared_pair_stops_the_legacy_build_alone(app: LegacyApp):
    await app.submit(1)
    new = await new_build(app, 7)
    legacy = await app.submit(7)
    assert (await app.stop(7)).body == OK
    assert await state_of(app, legacy) == "stopped"
    assert await state_of(app, new) in WAITING
    assert (await app.shuttle.delete(app.path(7), headers=TOKEN)).status == 200
    assert await state_of(app, new) == "stopped"


async def test_anonymous_deletion_of_a_shared_app_stops_its_legacy_builds_alone(app: LegacyApp):
    legacy = [await app.submit(1), await app.submit(2)]
    new = await new_build(app, "new")
    assert (await app.delete()).body == OK
    assert [await state_of(app, build_uuid) for build_uuid in legacy] == ["stopped", "stopped"]
    assert await state_of(app, new) in WAITING
    deleted = await app.shuttle.services.database.run(deleted_apps)
    assert app.app_id not in {marked.app_id for marked in deleted}, "its Jenkins job is the new build's too"
    assert (await app.shuttle.delete(f"/{app.app_id}", headers=TOKEN)).body == OK
    assert await state_of(app, new) == "stopped"


async def test_anonymous_deletion_of_an_app_of_new_builds_is_refused(app: LegacyApp):
    new = await new_build(app, "new")
    assert needs_token(await app.delete())
    assert await state_of(app, new) in WAITING


@pytest.mark.parametrize("what", ["status", "logs", "logs?follow=true", "logs?offset=0"])
async def test_anonymous_reader_of_a_shared_pair_sees_the_legacy_build(app: LegacyApp, what: str):
    legacy = await app.submit(4)
    assert (await app.shuttle.delete(app.path(4))).body == OK
    await app.until_recorded(legacy)
    shown = await app.shuttle.get(f"{app.path(4)}/{what}")
    assert shown.status == 200
    await new_build(app, 5)
    assert needs_token(await app.shuttle.get(f"{app.path(5)}/{what}"))
    await app.submit(5)
    if what == "status":
        assert (await app.shuttle.get(f"{app.path(5)}/{what}")).json["type"] == "jenkins"
    else:
        assert (await app.shuttle.ask("HEAD", f"{app.path(5)}/{what}")).status == 200


async def test_anonymous_caller_cannot_use_legacy_builds_of_a_token_holders_app(app: LegacyApp):
    """The app belongs to the new API; a token holder may build it by the older API, too."""
    await new_build(app, "first")
    body = app.request(1)
    assert (await app.post(body, headers=TOKEN)).status == 200
    for method, path in (
        ("GET", f"/{body['build_uuid']}"),
        ("HEAD", f"/{body['build_uuid']}"),
        ("GET", f"{app.path(1)}/status"),
        ("GET", f"{app.path(1)}/logs"),
        ("DELETE", app.path(1)),
        ("DELETE", f"/{app.app_id}"),
    ):
        assert (await app.shuttle.ask(method, path)).status == 401, (method, path)
        if method != "DELETE":
            assert (await app.shuttle.ask(method, path, headers=TOKEN)).status == 200, (method, path)
    assert needs_token(await app.post(body)), "a repeat of a token holder's request"
    assert await state_of(app, body["build_uuid"]) in WAITING


async def test_anonymous_caller_may_stop_a_token_holders_legacy_build_of_a_legacy_app(app: LegacyApp):
    body = app.request(1)
    assert (await app.post(body, headers=TOKEN)).status == 200
    assert (await app.status(1)).status == 200
    assert (await app.stop(1)).body == OK
    assert await state_of(app, body["build_uuid"]) == "stopped"


@pytest.mark.parametrize("spelling", [str.lower, str.upper])
async def test_anonymous_request_for_the_source_of_a_new_build_is_refused(app: LegacyApp, opened: Shuttle, spelling):
    new = await new_build(LegacyApp(opened, "other"), 1)
    refused = await app.post(app.request(1, sources=f"{opened.url}/{spelling(new)}"))
    assert needs_token(refused)
    assert refused.json["field"] == "sources"
    body = app.request(2, sources=f"{opened.url}/{new}")
    assert (await app.post(body, headers=TOKEN)).status == 200
    await app.until_recorded(body["build_uuid"], lambda build: build.staged_at)


async def test_source_that_later_belongs_to_a_new_build_is_not_copied_for_an_anonymous_caller(
    app: LegacyApp, opened: Shuttle
):
    """No object has this uuid when the POST is accepted; access is checked when the object is copied."""
    wanted = str(uuid.uuid4())
    objects = opened.services.objects
    accepted, asked, copying = asyncio.Event(), asyncio.Event(), objects.head

    async def head(name: str):
        if name == wanted and asyncio.current_task() is not asking:
            asked.set()
            await accepted.wait()
        return await copying(name)

    objects.head = head  # type: ignore[method-assign]
    try:
        body = app.request(1, sources=f"{opened.url}/{wanted}")
        asking: asyncio.Task[Answer] | None = None
        assert (await app.post(body)).status == 200
        async with asyncio.timeout(10):
            await asked.wait()
        objects.head = copying  # type: ignore[method-assign]
        answer = await opened.post(f"/other-{uuid.uuid4()}/{wanted}", script_request(), headers=TOKEN)
        assert answer.status == 200
        assert (await app.record(wanted)).api == "new"
        accepted.set()
        build = await app.until_recorded(body["build_uuid"])
    finally:
        objects.head = copying  # type: ignore[method-assign]
        accepted.set()
    assert (build.state, build.reason) == ("failed", "source_refused")
    assert (await opened.get(f"/{body['build_uuid']}")).status == 404


async def test_source_of_a_new_build_that_is_just_being_recorded_is_not_open(opened: Shuttle):
    """A data: source is stored before its build is recorded."""
    wanted = str(uuid.uuid4())
    intake = opened.services.intake
    recording, recorded, go_on = intake.record, asyncio.Event(), asyncio.Event()

    async def record(*args, **named):
        recorded.set()
        await go_on.wait()
        return await recording(*args, **named)

    intake.record = record  # type: ignore[method-assign]
    try:
        posting = asyncio.create_task(opened.post(f"/plain/{wanted}", script_request(), headers=TOKEN))
        async with asyncio.timeout(10):
            await recorded.wait()
        assert await opened.services.objects.head(wanted) is not None
        for method in ("GET", "HEAD"):
            assert (await opened.ask(method, f"/{wanted}")).status == 401, method
    finally:
        intake.record = recording  # type: ignore[method-assign]
        go_on.set()
    assert (await posting).status == 200


async def test_anonymous_caller_does_not_list_an_app_whose_id_is_a_uuid(opened: Shuttle):
    app_id = str(uuid.uuid4())
    assert (await opened.post(f"/{app_id}/1", script_request(), headers=TOKEN)).status == 200
    assert (await opened.get(f"/{app_id}", headers=TOKEN)).json["builds"]
    answer = await opened.get(f"/{app_id}")
    assert answer.status in {401, 404}
    assert b"builds" not in answer.body


async def test_anonymous_and_new_post_of_one_pair_at_once_never_leave_a_new_build_open(opened: Shuttle):
    """The build that is recorded first determines the API to which the app belongs."""
    firsts = set()
    for number in range(12):
        app = LegacyApp(opened)
        body = app.request(number)
        new, legacy = await asyncio.gather(
            opened.post(
                app.path(number), {**script_request(), "source": {"url": "http://127.0.0.1:9/a"}}, headers=TOKEN
            ),
            app.post({**body, "sources": "http://127.0.0.1:9/a"}),
        )
        assert (new.status, legacy.status) in {(200, 401), (409, 200)}
        firsts.add(new.status)
        if new.status == 200:
            uuid_of_new = await newest_uuid(app, number)
            assert (await app.stop(number)).status == 401
            assert (await app.record(uuid_of_new)).stop_requested_at is None
    assert firsts
