"""Sources of the older API, including those of earlier builds."""

from base64 import b64encode
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.contract.legacy.caller import LegacyApp, credentials_in, image_source
from tests.support.archives import entry, tar_gz, zipped
from tests.support.inprocess import Shuttle, running_shuttle
from tests.support.receivers import Receiver, answering

pytestmark = pytest.mark.asyncio(loop_scope="module")

DOCKERFILE = b"FROM scratch\n"
TAR_GZ = tar_gz(entry("project-1.0/Dockerfile", DOCKERFILE), entry("project-1.0/sub/file", b"x"))
ZIP = zipped(("project-1.0/Dockerfile", DOCKERFILE), ("project-1.0/sub/file", b"x"))
FLAT = {"Dockerfile": DOCKERFILE, "sub/file": b"x"}
BASE = "https://shuttle.nowhere.example"
ALIASES = "http://old.nowhere.example:9000,https://proxy.nowhere.example/shuttle"


async def staged(app: LegacyApp, **fields: Any) -> str:
    """Wait until the source of a new build is staged, and return the build's uuid."""
    build_uuid = await app.submit(None, **fields)
    build = await app.until_recorded(build_uuid, lambda build: build.staged_at or build.state.final)
    assert build.staged_at, build.message
    return build_uuid


async def files_of(app: LegacyApp, build_uuid: str) -> dict[str, bytes]:
    """The files of the source that the agent gets."""
    return await (await app.agent(build_uuid)).files("source.tar.gz")


@pytest.mark.parametrize("archive", [TAR_GZ, ZIP])
async def test_archive_over_http_is_normalized(waiting: LegacyApp, archive: bytes):
    async with Receiver(answering(200, {"Content-Type": "application/x-whatever"}, archive)) as host:
        build_uuid = await staged(waiting, sources=f"{host.url}/archive/main")
    assert await files_of(waiting, build_uuid) == FLAT
    assert (await waiting.shuttle.get(f"/{build_uuid}")).body == archive


async def test_userinfo_of_an_http_source_is_used_as_credentials(waiting: LegacyApp):
    async with Receiver(answering(200, {}, TAR_GZ)) as host:
        url = host.url.replace("://", "://user:p%40ss@") + "/a.tar.gz"
        build_uuid = await staged(waiting, sources=url)
        sent = (await host.exchange(0)).headers["Authorization"]
    assert sent == "Basic " + b64encode(b"user:p@ss").decode()
    assert "p%40ss" not in str(await waiting.shuttle.build(waiting.path((await waiting.record(build_uuid)).build_id)))


@pytest.mark.parametrize("archive", [TAR_GZ, ZIP])
@pytest.mark.parametrize("head", ["data:base64,", "data:application/gzip;base64,", "data:;base64,"])
async def test_data_url_is_accepted_in_both_forms(waiting: LegacyApp, head: str, archive: bytes):
    build_uuid = await staged(waiting, sources=head + b64encode(archive).decode())
    assert await files_of(waiting, build_uuid) == FLAT
    assert (await waiting.shuttle.get(f"/{build_uuid}")).body == archive


async def test_scheme_of_a_source_ignores_case(waiting: LegacyApp):
    async with Receiver(answering(200, {}, TAR_GZ)) as host:
        over_http = await staged(waiting, sources=f"{host.url}/a.tar.gz".replace("http", "HTTP"))
    in_request = await staged(waiting, sources="DATA:base64," + b64encode(TAR_GZ).decode())
    for build_uuid in (over_http, in_request):
        assert await files_of(waiting, build_uuid) == FLAT


async def test_docker_login_and_password_override_the_userinfo(waiting: LegacyApp):
    image = "docker://old:old-password@registry.example:5000/org/base:1.2"
    login = {"docker_login": "user", "docker_password": "new-password"}
    environment = await waiting.environment(sources=image, **login)
    assert environment["source_image/reference"] == b"registry.example:5000/org/base:1.2"
    auth = b64encode(b"user:new-password").decode()
    assert credentials_in(environment, "source_image") == {"registry.example:5000": auth}


async def test_docker_login_copied_from_the_url_with_escapes_is_decoded(waiting: LegacyApp):
    """The real client copies them so: `new URL(sources).username` keeps the escapes."""
    image = "DOCKER://us%40er:p%2Fw@registry.example/org/base:1.2"
    environment = await waiting.environment(sources=image, docker_login="us%40er", docker_password="p%2Fw")
    auth = b64encode(b"us@er:p/w").decode()
    assert credentials_in(environment, "source_image") == {"registry.example": auth}


async def test_userinfo_is_used_without_docker_login(waiting: LegacyApp):
    environment = await waiting.environment(sources="docker://user:of-the-url@registry.example/org/base:1.2")
    auth = b64encode(b"user:of-the-url").decode()
    assert credentials_in(environment, "source_image") == {"registry.example": auth}


async def test_docker_source_has_no_object(waiting: LegacyApp):
    build_uuid = await waiting.submit(sources="docker://registry.example/org/base:1.2")
    assert (await waiting.shuttle.ask("HEAD", f"/{build_uuid}")).status == 404


@pytest.mark.parametrize(
    "sources", ["ftp://host.example/a", "file:///etc/passwd", "/etc/passwd", "nonsense", "data:nothing"]
)
async def test_invalid_source_is_refused_with_its_field(waiting: LegacyApp, sources: str):
    assert (await waiting.refused(sources=sources)).json["field"] == "sources"


@pytest.fixture
async def elsewhere(tmp_path: Path):
    """A shuttle with names that resolve to nothing: sources under these names must come from its own objects."""
    tokens = "controller:token-of-the-controller"
    async with running_shuttle(
        tmp_path, BUILD_SHUTTLE_HOST=BASE, SHUTTLE_ALIASES=ALIASES, SHUTTLE_TOKENS=tokens
    ) as shuttle:
        shuttle.headers["Authorization"] = "Bearer token-of-the-controller"
        yield shuttle


@pytest.mark.asyncio(loop_scope="function")
@pytest.mark.parametrize(
    "base",
    [
        BASE,
        "https://user:wrong-password@shuttle.nowhere.example",
        "https://SHUTTLE.nowhere.example:443/",
        "http://old.nowhere.example:9000",
        "http://token@old.nowhere.example:9000",
        "https://proxy.nowhere.example/shuttle",
    ],
)
async def test_earlier_build_under_any_own_name_is_read_from_the_object_store(elsewhere: Shuttle, base: str):
    app = LegacyApp(elsewhere)
    earlier = await staged(app, sources="data:base64," + b64encode(ZIP).decode())
    later = await staged(app, sources=f"{base}/{earlier}")
    assert await files_of(app, later) == FLAT
    assert (await elsewhere.get(f"/{later}")).body == ZIP
    number = (await app.record(later)).build_id
    shown = str(await elsewhere.build(app.path(number))) + str((await app.logs(number)).body)
    assert not [secret for secret in ("wrong-password", "token@") if secret in shown]


@pytest.mark.asyncio(loop_scope="function")
@pytest.mark.parametrize("host", ["what.the.client.calls", "what.the.client.calls:9000"])
async def test_earlier_build_under_the_requests_host_is_read_from_the_object_store(elsewhere: Shuttle, host: str):
    app = LegacyApp(elsewhere)
    earlier = await staged(app)
    body = app.request(2, sources=f"http://user@{host}/{earlier}")
    assert (await app.post(body, headers={"Host": host})).status == 200
    await app.until_recorded(body["build_uuid"], lambda build: build.staged_at)
    assert set(await files_of(app, body["build_uuid"])) == {"Dockerfile"}


async def test_source_of_an_earlier_build_is_copied(waiting: LegacyApp):
    earlier = await staged(waiting, sources="data:base64," + b64encode(TAR_GZ).decode())
    later = await staged(waiting, sources=f"{waiting.shuttle.url}/{earlier}")
    await waiting.shuttle.services.objects.delete(earlier)
    assert (await waiting.shuttle.ask("HEAD", f"/{earlier}")).status == 404
    assert (await waiting.shuttle.get(f"/{later}")).body == TAR_GZ


async def test_rebuild_can_be_rebuilt(waiting: LegacyApp):
    newest = await staged(waiting)
    for _ in range(3):
        newest = await staged(waiting, sources=f"{waiting.shuttle.url}/{newest}")
    assert set(await files_of(waiting, newest)) == {"Dockerfile"}


async def test_source_of_the_old_shuttle_can_be_rebuilt(waiting: LegacyApp):
    left = str(uuid4())
    (waiting.shuttle.data / "objects").mkdir(exist_ok=True)
    (waiting.shuttle.data / "objects" / left).write_bytes(ZIP)
    build_uuid = await staged(waiting, sources=f"{waiting.shuttle.url}/{left}")
    assert await files_of(waiting, build_uuid) == FLAT


async def test_missing_source_of_an_earlier_build_is_refused_or_fails_the_build(waiting: LegacyApp):
    body = waiting.request(sources=f"{waiting.shuttle.url}/{uuid4()}")
    answer = await waiting.post(body)
    if answer.status == 200:
        build = await waiting.until_recorded(body["build_uuid"])
        assert (build.state, build.reason) == ("failed", "source_not_found")
    else:
        assert (answer.status, answer.json["field"]) == (400, "sources")


@pytest.mark.slow
async def test_source_with_two_commands_is_built(app: LegacyApp):
    await app.submit(sources=image_source("echo one\necho two"))
    assert (await app.until())["state"] == "succeeded"
    assert b"\none\ntwo\n" in (await app.logs()).body
