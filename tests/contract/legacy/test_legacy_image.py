"""The image of an older API's build: its names, its registry's credentials, its labels."""

import json
from base64 import b64encode

import pytest

from tests.contract.legacy.caller import LegacyApp, credentials_in, destinations_in, labels_in
from tests.support.image_builder import DIGEST

pytestmark = pytest.mark.asyncio(loop_scope="module")

AUTH = b64encode(b"pusher:push-password").decode()


async def test_image_is_tagged_with_the_number_and_latest(waiting: LegacyApp):
    await waiting.submit(7)
    image = f"registry.example/org/{waiting.app_id}"
    assert (await waiting.shuttle.build(waiting.path(7)))["destinations"] == [f"{image}:1.7", f"{image}:latest"]


async def test_upper_case_app_uuid_becomes_lower_case_in_the_image_name(waiting: LegacyApp):
    waiting.app_uuid = waiting.app_uuid.upper()
    environment = await waiting.environment()
    image = f"registry.example/org/{waiting.app_id.lower()}"
    assert destinations_in(environment) == [f"{image}:1.1", f"{image}:latest"]


async def test_image_is_pushed_with_gm_registry_auth(waiting: LegacyApp):
    environment = await waiting.environment()
    for folder in ("destinations/000001", "destinations/000002"):
        assert credentials_in(environment, folder) == {"registry.example": AUTH}


async def test_agents_own_login_is_used_without_gm_registry_auth(waiting: LegacyApp):
    environment = await waiting.environment(gm_registry_auth=None)
    assert not [name for name in environment if name.endswith("config.json")]


async def test_image_is_labelled_with_app_space_and_both_uuids(waiting: LegacyApp):
    build_uuid = await waiting.submit(space="a space", run="true")
    environment = await (await waiting.agent(build_uuid)).files("environment")
    assert labels_in(environment) == {
        "app": "shop",
        "space": "a space",
        "build_uuid": build_uuid,
        "app_uuid": waiting.app_uuid,
    }


async def test_image_is_built_labelled_and_pushed(app: LegacyApp):
    build_uuid = await app.submit(12)
    build = await app.until(12)
    assert build["state"] == "succeeded"
    image = f"registry.example/org/{app.app_id}"
    assert (build["image"], build["digest"]) == (f"{image}:1.12", DIGEST)
    notes = app.notes(build_uuid)
    pushed = [call[-1] for call in notes.calls if call[1] == "push"]
    assert pushed == [f"docker://{image}:1.12", f"docker://{image}:latest"]
    made = notes.call("build")
    labels = {made[place + 1] for place, word in enumerate(made) if word == "--label"}
    assert labels == {"app=shop", "space=default", f"build_uuid={build_uuid}", f"app_uuid={app.app_uuid}"}
    auths = json.loads(notes.text("auth.push").split("}}}")[0] + "}}}")["auths"]
    assert auths == {"registry.example": {"auth": AUTH}}


async def test_registry_password_is_shown_nowhere(app: LegacyApp):
    build_uuid = await app.submit(1, "echo the password is push-password")
    build = await app.until()
    log = (await app.logs()).body.decode()
    assert "push-password" not in json.dumps(build) + log + str(app.notes(build_uuid).calls)
    assert "the password is [secret]" in log
    assert AUTH not in json.dumps(build) + log


async def test_refused_push_fails_the_build_with_its_reason(app: LegacyApp):
    body = app.request()
    (app.builder_notes / f"{body['build_uuid']}.refuse").touch()
    assert (await app.post(body)).status == 200
    build = await app.until()
    assert (build["state"], build["reason"]) == ("failed", "registry_refused")
