"""A test for each fault in docs/contract.md, "Faults of the old shuttle"."""

import asyncio
import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from tests.contract.legacy.caller import OK, LegacyApp
from tests.support.archives import MIB, entry, tar_gz, zipped
from tests.support.inprocess import Jenkins, Shuttle, running_shuttle
from tests.support.kafka_broker import black_hole, closed_port
from tests.support.product import data_url, running_product
from tests.support.receivers import Receiver, Script, answering, hanging
from tests.support.s3_server import bucket_of, s3_server, settings_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

# The old client's timeout is 60 s; a POST must take only a small part of that.
PATIENCE_SECONDS = 10


@pytest.mark.slow
async def test_fault_1_unreachable_kafka_neither_blocks_the_post_nor_ends_the_service(app: LegacyApp):
    with black_hole() as port:
        for number, hosts in ((1, f"127.0.0.1:{closed_port()}"), (2, f"127.0.0.1:{port}"), (3, "no.such.host.example")):
            async with asyncio.timeout(PATIENCE_SECONDS):
                await app.submit(number, kafka_hosts=hosts)
            assert (await app.until(number))["state"] == "succeeded"
        assert (await app.shuttle.get("/healthz")).status == 200


@pytest.mark.slow
@pytest.mark.timeout(120)  # three starts of processes
async def test_fault_2_build_gets_its_final_status_although_the_service_was_killed(
    waiting: LegacyApp, builder_path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", builder_path)
    gate = tmp_path / "gate"
    async with Receiver() as callback, running_product(tmp_path) as product:
        body = waiting.request(1, f"while [ ! -e {gate} ]; do sleep 0.1; done", callback=f"{callback.url}/")
        async with product.session.post(product.url, json=body) as response:
            assert response.status == 200
        await product.until_state(waiting.app_id, "1", "running")
        await product.shuttle.restart()
        gate.touch()
        async with asyncio.timeout(60):
            await callback.until(lambda: "succeeded" in sent_statuses(callback))


def sent_statuses(callback: Receiver) -> list[str]:
    return [json.loads(exchange.body)["status"] for exchange in callback.exchanges if exchange.ended]


@pytest.mark.slow
async def test_fault_3_second_post_for_the_same_key_does_not_affect_the_first_build(app: LegacyApp, tmp_path: Path):
    gate = tmp_path / "gate"
    body = app.request(1, f"while [ ! -e {gate} ]; do sleep 0.1; done; echo the first ran to its end")
    assert (await app.post(body)).body == OK
    await app.until(1, "running")
    assert (await app.post(body)).body == OK
    second = await app.submit(1, "true")
    gate.touch()
    assert (await app.until_recorded(second)).state == "succeeded"
    first = await app.record(body["build_uuid"])
    assert first.state == "succeeded"
    log = app.shuttle.data / "objects" / f"{first.build_uuid}.log"
    await app.shuttle.until_settled(first.build_uuid)
    assert b"the first ran to its end" in log.read_bytes()


async def test_fault_4_callback_is_retried_until_accepted(app: LegacyApp):
    failing: list[Script] = [answering(500)] * 3
    async with Receiver(*failing, answering(200)) as callback:
        await app.submit(1, callback=f"{callback.url}/")
        async with asyncio.timeout(20):
            await callback.until(lambda: "succeeded" in sent_statuses(callback))
        assert sent_statuses(callback)[:4] == ["pending"] * 4


async def test_fault_5_hanging_callback_blocks_neither_the_post_nor_the_build(app: LegacyApp):
    async with Receiver(hanging) as callback:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await app.submit(1, callback=f"{callback.url}/")
        assert (await app.until())["state"] == "succeeded"


@pytest.mark.slow
async def test_fault_6_requests_get_responses_while_jenkins_is_down_and_nothing_is_lost(
    app: LegacyApp, jenkins: Jenkins, tmp_path: Path
):
    async with running_shuttle(tmp_path, jenkins.url) as shuttle:
        app.shuttle = shuttle
        await jenkins.stop()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                build_uuid = await app.submit(1, "echo it ran after all")
                stopped = await app.submit(2)
                assert (await app.status(1)).json["status"] == "pending"
                assert (await app.logs(1)).status == 200
                assert (await app.stop(2)).body == OK
                assert (await shuttle.ask("HEAD", f"/{build_uuid}")).status == 200
                assert (await shuttle.delete(f"/{LegacyApp(shuttle).app_id}")).body == OK
        finally:
            await jenkins.start()
        assert (await app.until(1))["state"] == "succeeded"
        assert (await app.until_recorded(stopped)).state == "stopped"
        assert b"\nit ran after all\n" in (await app.logs(1)).body


@pytest.mark.slow
async def test_fault_7_log_is_complete_however_it_was_split_and_stored_once(app: LegacyApp, tmp_path: Path):
    """Split characters, split lines and indentation. test_old_fault_memory checks the memory."""
    gate = tmp_path / "gate"
    # é and a line are written in two halves, each of which Jenkins sees before the next one.
    run = f"""printf '  \\303'
while [ ! -e {gate} ]; do sleep 0.1; done
printf '\\251 \\t in'; printf 'dented\\n'
seq -f '    line %g äöü €' 1 20000"""
    build_uuid = await app.submit(1, run)
    await app.until(1, "running")
    assert not list((app.shuttle.data / "objects").glob(f"*{build_uuid}*.log*"))
    gate.touch()
    assert (await app.until(1))["state"] == "succeeded"
    expected = "  é \t indented\n" + "".join(f"    line {number} äöü €\n" for number in range(1, 20001))
    text = (await app.logs(1)).body.decode()
    assert expected in text
    assert expected in (await app.logs(1, Accept="application/json")).json["output"]


@pytest.mark.slow
async def test_fault_8_builds_wait_for_a_slot(jenkins: Jenkins, tmp_path: Path):
    """Each build waits for its partner, so builds only end if two run at once; a third one never runs with them."""
    script = f"""cd {tmp_path}; touch $MINE.runs
while [ "$(ls *.runs | wc -l)" -lt 2 ] && [ ! -e met ]; do sleep 0.02; done
touch {tmp_path}/met; [ "$(ls {tmp_path}/*.runs | wc -l)" -le 2 ] || touch {tmp_path}/crowd; rm {tmp_path}/$MINE.runs"""
    async with running_shuttle(tmp_path, jenkins.url, MAXIMUM_PARALLEL_BUILDS="2") as shuttle:
        apps = [LegacyApp(shuttle) for _ in range(5)]
        for number, app in enumerate(apps):
            await app.submit(1, script, build_args={"MINE": f"b{number}"})
        states = [(await app.until())["state"] for app in apps]
    assert states == ["succeeded"] * 5
    assert not (tmp_path / "crowd").exists()


@pytest.mark.parametrize(
    ("status", "reason"), [(404, "source_not_found"), (403, "source_refused"), (200, "source_is_a_page")]
)
async def test_fault_9_error_response_is_not_built_as_a_source(waiting: LegacyApp, status: int, reason: str):
    page = b"<!DOCTYPE html><title>404</title>"
    async with Receiver(answering(status, {"Content-Type": "text/html"}, page)) as host:
        build_uuid = await waiting.submit(1, sources=f"{host.url}/a.tar.gz")
        build = await waiting.until_recorded(build_uuid)
    assert build.state == "failed"
    assert build.reason == reason
    if status != 200:
        assert (await waiting.shuttle.ask("HEAD", f"/{build_uuid}")).status == 404


@pytest.mark.parametrize(
    "bomb",
    [zipped(("Dockerfile", b"FROM scratch\n"), ("zeros", bytes(80 * MIB))), tar_gz(entry("zeros", bytes(80 * MIB)))],
)
async def test_fault_10_bomb_fails_only_its_own_build(waiting: LegacyApp, bomb: bytes):
    build_uuid = await waiting.submit(1, sources="data:base64," + b64encode(bomb).decode())
    build = await waiting.until_recorded(build_uuid)
    assert build.state == "failed"
    assert (build.reason or "").startswith("archive_")


async def test_fault_10_size_of_a_source_is_limited(tmp_path: Path):
    async with running_shuttle(tmp_path, SHUTTLE_MAX_SOURCE_BYTES="100000") as shuttle:
        app = LegacyApp(shuttle)
        async with Receiver(answering(200, {}, bytes(100_001))) as host:
            build = await app.until_recorded(await app.submit(1, sources=f"{host.url}/a"))
        assert (build.state, build.reason) == ("failed", "source_too_large")


async def test_fault_11_requests_need_authentication(tmp_path: Path):
    async with running_shuttle(tmp_path, SHUTTLE_TOKENS="controller:token-of-the-controller") as shuttle:
        app = LegacyApp(shuttle)
        assert (await app.post(app.request())).status == 401
        assert (await app.stop()).status == 401
        assert (await app.delete()).status == 401


async def test_fault_11_only_builds_of_the_shuttle_can_be_stopped(app: LegacyApp, jenkins: Jenkins):
    job = (Path(__file__).parents[2] / "recordings" / "declarative" / "config.xml").read_bytes()
    names = [app.app_id, f"{app.app_id}-7", "plain"]
    for name in names:
        headers = {"Content-Type": "application/xml"}
        assert await jenkins.call("POST", f"/createItem?name={name}", data=job, headers=headers) == 200
    await app.stop(7)
    assert (await app.delete()).body == OK
    await app.shuttle.delete("/plain")
    await app.submit(8)
    await app.until(8)
    for name in names:
        assert await jenkins.call("GET", f"/job/{name}/api/json") == 200


async def test_fault_12_secrets_are_not_in_jobs_command_lines_images_or_pages(app: LegacyApp, jenkins: Jenkins):
    secret = "s3cret-value-of-this-test"
    fields: dict[str, Any] = {
        "build_args": {"API_TOKEN": secret},
        "gm_registry_auth": {"username": "u", "password": secret + "-registry"},
        "callback_auth": secret + "-callback",
    }
    build_uuid = await app.submit(1, "ps -ef || ps; exit 1", **fields)
    build = await app.until()
    assert build["state"] == "failed"
    job = build["jenkins"]["job"]
    seen = [
        await jenkins.read(f"/job/{job}/{page}") for page in ("1/api/json", "1/consoleText", "config.xml", "api/json")
    ]
    seen += [json.dumps(build).encode(), str(app.notes(build_uuid).calls).encode(), (await app.logs()).body]
    refused = await app.post(app.request(**fields) | {"build_uuid": build_uuid, "branch": secret})
    assert refused.status == 409
    seen.append(refused.body)
    assert "--omit-history" in app.notes(build_uuid).call("build")
    assert not [text for text in seen if secret.encode() in text]


async def test_fault_12_sources_are_private(tmp_path: Path):
    with s3_server() as endpoint, bucket_of(endpoint) as (bucket, client):
        async with running_shuttle(tmp_path, **settings_for(endpoint, bucket)) as shuttle:
            build_uuid = await LegacyApp(shuttle).submit(1)
            grants = await asyncio.to_thread(client.get_object_acl, Bucket=bucket, Key=build_uuid)
            left = "0a7f4f0e-0000-4000-8000-0123456789ab"
            await asyncio.to_thread(client.put_object, Bucket=bucket, Key=left, Body=b"of the old shuttle")
            assert (await shuttle.get(f"/{left}")).body == b"of the old shuttle"
    assert [grant["Grantee"]["Type"] for grant in grants["Grants"]] == ["CanonicalUser"]


@pytest.mark.slow
async def test_fault_13_bodies_above_96_kb_are_accepted(app: LegacyApp):
    files = {"Dockerfile": "FROM scratch\nRUN wc -c <filler\n", "filler": "".join(f"{n:x}" for n in range(400_000))}
    body = app.request(1, sources=data_url(files), build_args={"LONG": "x" * 100_000})
    assert len(json.dumps(body)) > 1_000_000
    assert (await app.post(body)).body == OK
    assert (await app.until())["state"] == "succeeded"
    assert f"\n{len(files['filler'])}\n".encode() in (await app.logs()).body


async def test_fault_14_health_reports_the_actual_state(shuttle: Shuttle, idle: Shuttle):
    good, bad = await shuttle.get("/octhc"), await idle.get("/octhc")
    assert (good.status, good.body) == (200, b"overall_status=good")
    assert (bad.status, bad.body) == (503, b"overall_status=bad")
