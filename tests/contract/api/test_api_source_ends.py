"""Sources that fail a build before Jenkins has it: reason, statuses, log (docs/contract.md, "Ends of builds")."""

import asyncio
import base64
import gzip
import hashlib
import io
import tarfile
import zipfile
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from tests.support.inprocess import Shuttle, running_shuttle
from tests.support.product import archive

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAX_SOURCE_BYTES = 1_000_000
GOOD = archive({"build.sh": "true"})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shuttle(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shuttle]:
    """A shuttle whose Jenkins is down; nothing here may need Jenkins."""
    settings = {
        "SHUTTLE_STAGE_TIMEOUT_SECONDS": "2.5",
        "SHUTTLE_MAX_SOURCE_BYTES": str(MAX_SOURCE_BYTES),
        "SHUTTLE_MAX_EXPANDED_BYTES": "4000000",
        "MAXIMUM_PARALLEL_BUILDS": "20",
    }
    async with running_shuttle(tmp_path_factory.mktemp("sources"), **settings) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def host() -> AsyncIterator[str]:
    """A source host whose responses depend on the path."""
    app = web.Application()
    app.router.add_get("/{what}", _serve)
    runner = web.AppRunner(app, shutdown_timeout=0.05)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def _serve(request: web.Request) -> web.StreamResponse:
    what = request.match_info["what"]
    if what.isdigit():
        return web.Response(status=int(what), text="an error page")
    if what == "loop":
        raise web.HTTPFound("/loop")
    response = web.StreamResponse()
    if what in {"stall", "cut"}:
        response.content_length = len(GOOD)
    await response.prepare(request)
    if what == "large":
        for _ in range(MAX_SOURCE_BYTES // 65_536 + 2):
            await response.write(b"x" * 65_536)
        return response
    await response.write(GOOD[:50] if what in {"stall", "cut"} else GOOD)
    if what == "cut":
        assert request.transport is not None
        request.transport.abort()
    if what == "stall":
        await asyncio.Event().wait()
    return response


async def failed(shuttle: Shuttle, path: str, url: str, **source: str) -> dict[str, Any]:
    answer = await shuttle.post(path, {"source": {"url": url, **source}, "pipeline": "script"})
    assert answer.status == 200, answer.body
    build = await shuttle.until(path)
    assert (build["state"], build["status"], build["building"], build["stage"]) == ("failed", "failed", False, "source")
    assert build["message"].endswith((".", "'"))
    assert build["jenkins"]["build_number"] is build["jenkins"]["queue_item"] is None
    assert build["timestamps"]["running_at"] is build["waiting_for"] is None
    log = await shuttle.whole_log(path)
    assert log.decode().splitlines()[-1] == f"-----> {build['message']}"
    assert build["log"] == {"bytes": len(log), "sha256": hashlib.sha256(log).hexdigest(), "complete": True}
    status = (await shuttle.get(f"{path}/status")).json
    assert (status["status"], status["building"], status["sequence"]) == ("failed", False, 2)
    assert (status["reason"], status["stage"]) == (build["reason"], "source")
    return build


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("404", "source_not_found"),
        ("410", "source_not_found"),
        ("401", "source_refused"),
        ("403", "source_refused"),
        ("418", "source_failed"),
        ("500", "source_unreachable"),
        ("503", "source_unreachable"),
        ("loop", "source_redirects"),
        ("stall", "source_timeout"),
        ("cut", "source_unreachable"),
        ("large", "source_too_large"),
    ],
)
async def test_faults_of_a_source_host_fail_the_build(shuttle: Shuttle, host: str, app: str, what: str, reason: str):
    build = await failed(shuttle, f"/{app}/1", f"{host.replace('://', '://user:pass-word@')}/{what}")
    assert build["reason"] == reason
    assert "pass-word" not in str(build)
    assert build["source"]["url"] == f"{host}/{what}"


@pytest.mark.slow
async def test_unreachable_source_host_fails_the_build(shuttle: Shuttle, app: str):
    assert (await failed(shuttle, f"/{app}/1", "http://127.0.0.1:9/a"))["reason"] == "source_unreachable"
    assert (await failed(shuttle, f"/{app}/2", "http://10.0.0.0.1/a"))["reason"].startswith("source_")


async def test_metadata_services_and_link_local_addresses_are_refused(shuttle: Shuttle, app: str):
    for number, address in enumerate(["169.254.169.254", "[fe80::1]", "[fd00:ec2::254]", "0.0.0.0"]):
        build = await failed(shuttle, f"/{app}/{number}", f"http://{address}/latest/meta-data")
        assert build["reason"] == "source_refused"


async def test_checksum_of_a_source_is_verified(shuttle: Shuttle, host: str, app: str):
    right = hashlib.sha256(GOOD).hexdigest()
    build = await failed(shuttle, f"/{app}/1", f"{host}/good", checksum="sha256:" + "0" * 64)
    assert build["reason"] == "source_checksum"
    assert right in build["message"]
    body = {"source": {"url": f"{host}/good", "checksum": f"sha256:{right.upper()}"}, "pipeline": "script"}
    await shuttle.post(f"/{app}/2", body)
    build = await shuttle.until_shown(f"/{app}/2", lambda shown: shown["timestamps"]["staged_at"] or shown["reason"])
    assert build["reason"] is None
    facts = {"url": f"{host}/good", "sha256": right, "bytes": len(GOOD)}
    assert build["source"] == facts | {"commit": None, "branch": None}
    preamble = (await shuttle.get(f"/{app}/2/logs")).body.decode()
    assert f"{len(GOOD)} bytes, sha256 {right}" in preamble


def tar(*entries: tarfile.TarInfo) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as made:
        for entry in entries:
            made.addfile(entry, io.BytesIO(b"x" * entry.size))
    return packed.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    return made


def bomb() -> bytes:
    return gzip.compress(tar_of_zeros(5_000_000))


def tar_of_zeros(size: int) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as made:
        zeros = tarfile.TarInfo("zeros")
        zeros.size = size
        made.addfile(zeros, io.BytesIO(bytes(size)))
    return packed.getvalue()


def zipped(name: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as made:
        made.writestr(name, "x")
    return packed.getvalue()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: b"<html>not found</html>", "archive_unknown"),
        (lambda: GOOD[:-20], "archive_truncated"),
        (tar, "archive_empty"),
        (lambda: tar(entry("../up")), "archive_path_escapes"),
        (lambda: tar(entry("/etc/passwd")), "archive_path_escapes"),
        (lambda: zipped("../up"), "archive_path_escapes"),
        (lambda: tar(entry("out", tarfile.SYMTYPE, "/tmp"), entry("out/file")), "archive_link_escapes"),
        (lambda: tar(entry("out", tarfile.LNKTYPE, "../up")), "archive_link_escapes"),
        (lambda: tar(entry("null", tarfile.CHRTYPE)), "archive_special_file"),
        (lambda: tar(entry("pipe", tarfile.FIFOTYPE)), "archive_special_file"),
        (bomb, "archive_too_large"),
    ],
    ids=["html", "cut", "empty", "dots", "absolute", "zip", "through", "hardlink", "device", "fifo", "bomb"],
)
async def test_bad_archives_fail_the_build(shuttle: Shuttle, app: str, make: Callable[[], bytes], reason: str):
    url = "data:application/gzip;base64," + base64.b64encode(make()).decode()
    assert (await failed(shuttle, f"/{app}/1", url))["reason"] == reason


async def test_repeated_request_after_the_end_starts_nothing(shuttle: Shuttle, host: str, app: str):
    body = {"source": {"url": f"{host}/404"}, "pipeline": "script"}
    await shuttle.post(f"/{app}/1", body)
    ended = await shuttle.until(f"/{app}/1")
    again = await shuttle.post(f"/{app}/1", body)
    assert (again.status, again.headers["Shuttle-Replayed"]) == (200, "true")
    assert await shuttle.build(f"/{app}/1") == ended
    assert (await shuttle.post(f"/{app}/1", {**body, "metadata": 1})).status == 409


async def test_refused_source_leaves_no_local_files(shuttle: Shuttle, host: str, app: str):
    await failed(shuttle, f"/{app}/1", f"{host}/large")
    build_uuid = (await shuttle.build(f"/{app}/1"))["build_uuid"]
    left = [path for path in (shuttle.data / "sources").iterdir() if path.name.startswith(build_uuid)]
    assert left == []
    assert (await shuttle.get(f"/{build_uuid}")).json == {"status": "Not Found"}


async def test_text_after_a_gzip_is_a_warning_in_the_log(shuttle: Shuttle, app: str):
    packed = base64.b64encode(GOOD + b"Downloaded by a script.\n").decode()
    await shuttle.post(f"/{app}/1", {"source": {"url": f"data:;base64,{packed}"}, "pipeline": "script"})
    build = await shuttle.until_shown(f"/{app}/1", lambda shown: shown["timestamps"]["staged_at"] or shown["reason"])
    assert build["reason"] is None
    log = (await shuttle.get(f"/{app}/1/logs")).body.decode()
    assert "-----> Source: Warning: the bytes after the end of the gzip are ignored.\n" in log
