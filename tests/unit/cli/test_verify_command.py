"""`shuttle logs --verify`: copies that are equal to the byte, and each way in which one is not."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from shuttle.kafka import Record
from shuttle.kafka.clusters import KafkaClusters
from shuttle.objects.directory import DirectoryStore
from shuttle.objects.names import log_object
from shuttle.outgoing.connector import AddressPolicy
from shuttle.outgoing.kafka_url import read_kafka_url
from shuttle.settings import Settings, load_settings
from shuttle.sinks import SinkTarget
from shuttle.sinks.lines import Lines
from shuttle.sinks.messages import Messages
from tests.kafka_cluster import Cluster, kafka_cluster
from tests.unit.cli.conftest import FakeShuttle, Run

TEXT = "one\n  żółw\nBuild finished\nlast".encode()


@pytest.fixture
def told(service: FakeShuttle, final_build: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A service that tells the sum of TEXT and serves `log`; its archive is not of this machine."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("SHUTTLE_DATA_DIR", str(tmp_path / "data"))
    final_build["log"] = {"bytes": len(TEXT), "sha256": hashlib.sha256(TEXT).hexdigest(), "complete": True}
    service.says("GET", "/shop/7", final_build)

    def serves(log: bytes) -> None:
        async def answer(_request: web.Request) -> web.Response:
            return web.Response(body=log, headers={"Shuttle-Log-Complete": "true"})

        service.will("GET", "/shop/7/logs", answer)

    return serves


def messages(final_build: dict[str, Any]) -> list[Record]:
    """TEXT as the sink sends it."""
    target = SinkTarget(
        sink_id=1, build_uuid=final_build["build_uuid"], app_id="shop", build_id="7", metadata_json="null", url=""
    )
    told, ended = Messages(target), TEXT.rindex(b"\n")
    last = Lines(ended + 1, TEXT[ended + 1 :], no_newline=True)
    return [*told.of(Lines(0, TEXT[:ended])), *told.of(last), *told.finished(len(TEXT))]


async def fill(cluster: Cluster, topic: str, *portions: list[Record]) -> str:
    """Put these messages into the topic; returns its URL."""
    clusters = KafkaClusters(AddressPolicy(allow_loopback=True), load_settings({}))
    try:
        for records in portions:
            await clusters.send(read_kafka_url(cluster.url(topic), "test"), b"shop/7", records, timeout_seconds=10)
    finally:
        await clusters.close()
    return cluster.url(topic)


async def test_the_served_log_and_the_archive_are_held_to_the_status(run: Run, told, final_build, tmp_path: Path):
    told(TEXT)
    objects, spool = DirectoryStore(tmp_path / "data" / "objects"), tmp_path / "spool"
    spool.write_bytes(TEXT)
    await objects.put(log_object(final_build["build_uuid"]), spool, content_type="text/plain")
    ran = await run("logs", "shop", "7", "--verify")
    assert (ran.code, ran.err) == (0, "")
    assert [line.split()[0] for line in ran.out.splitlines()] == ["fine", "fine"]
    assert "archive" in ran.out
    spool.write_bytes(TEXT.replace(b"one", b"two"))
    await objects.put(log_object(final_build["build_uuid"]), spool, content_type="text/plain")
    ran = await run("logs", "shop", "7", "--verify")
    assert ran.code == 1
    assert "archive      has another SHA-256 than the status told" in ran.out
    assert "is not what its status told: archive" in ran.err


async def test_a_shorter_log_is_a_problem(run: Run, told):
    told(TEXT[:-1])
    ran = await run("logs", "shop", "7", "--verify")
    assert ran.code == 1
    assert f"has {len(TEXT) - 1} bytes, the status told {len(TEXT)}" in ran.out


async def test_a_running_build_cannot_be_verified(run: Run, service: FakeShuttle, final_build):
    final_build["log"] = {"bytes": 4, "sha256": None, "complete": False}
    service.says("GET", "/shop/7", final_build)
    ran = await run("logs", "shop", "7", "--verify")
    assert (ran.code, ran.out) == (1, "")
    assert "has not ended" in ran.err


async def test_a_topic_is_joined_without_doubles_and_other_builds(run: Run, told, final_build):
    told(TEXT)
    all_of_it = messages(final_build)
    other = messages(final_build | {"build_uuid": "another"})
    async with kafka_cluster() as cluster:
        url = await fill(cluster, "t", other[:2], all_of_it[:3], all_of_it[1:], other, all_of_it[-1:])
        ran = await run("logs", "shop", "7", "--verify", "--sink", url)
    assert (ran.code, ran.err) == (0, "")
    assert f"fine     kafka {cluster.bootstrap}/t equal to the byte" in ran.out


async def test_what_a_topic_lacks_is_named(run: Run, told, final_build):
    told(TEXT)
    one, two, finished, last, end = messages(final_build)
    value, headers = two
    cut = value, [*headers, ("cut", b"3")]
    other, torn = (one[0].replace(b"one", b"two"), one[1]), (value, [("offset", b"6"), *headers[1:]])
    async with kafka_cluster() as cluster:
        for topic, portion, problem in (
            ("gap", [one, finished, last, end], "bytes 4 to 14 are missing"),
            ("endless", [one, two, finished, last], "the end is missing"),
            ("cut", [one, cut, finished, last, end], "the line at 4 is cut"),
            ("altered", [one, two, other, finished, last, end], "a double at 0 is not the line that came first"),
            ("torn", [one, two, torn, finished, last, end], "a double at 6 is not the line that came first"),
            ("empty", messages(final_build | {"build_uuid": "another"}), "the end is missing"),
        ):
            ran = await run("logs", "shop", "7", "--verify", "--sink", await fill(cluster, topic, portion))
            assert ran.code == 1
            assert f"problem  kafka {cluster.bootstrap}/{topic} {problem}" in ran.out


async def test_a_sink_needs_verify_and_a_topic_that_can_be_read(run: Run, told):
    told(TEXT)
    ran = await run("logs", "shop", "7", "--sink", "kafka://h/t")
    assert (ran.code, "Add --verify" in ran.err) == (2, True)
    ran = await run("logs", "shop", "7", "--verify", "--sink", "kafka://127.0.0.1:9/t")
    assert ran.code == 1
    assert "cannot be connected to (Connection refused)" in ran.out
