"""`shuttle logs --verify`: equal copies, and each way in which a copy can differ."""

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
from tests.support.kafka_cluster import Cluster, kafka_cluster
from tests.unit.cli.conftest import FakeShuttle, Run

TEXT = "one\n  żółw\nBuild finished\nlast".encode()


@pytest.fixture
def serve_log(service: FakeShuttle, final_build: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A service whose final status has the checksum of TEXT and that serves `log`; its archive is out of reach."""
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
    """TEXT in the messages that the sink sends."""
    target = SinkTarget(
        sink_id=1, build_uuid=final_build["build_uuid"], app_id="shop", build_id="7", metadata_json="null", url=""
    )
    sink_messages, ended = Messages(target), TEXT.rindex(b"\n")
    last = Lines(ended + 1, TEXT[ended + 1 :], no_newline=True)
    return [*sink_messages.of(Lines(0, TEXT[:ended])), *sink_messages.of(last), *sink_messages.finished(len(TEXT))]


async def fill(cluster: Cluster, topic: str, *portions: list[Record]) -> str:
    """Put these messages into the topic; returns its URL."""
    clusters = KafkaClusters(AddressPolicy(allow_loopback=True), load_settings({}))
    try:
        for records in portions:
            await clusters.send(read_kafka_url(cluster.url(topic), "test"), b"shop/7", records, timeout_seconds=10)
    finally:
        await clusters.close()
    return cluster.url(topic)


async def test_served_log_and_archive_are_compared_with_the_final_status(
    run: Run, serve_log, final_build, tmp_path: Path
):
    serve_log(TEXT)
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
    assert "archive      has another SHA-256 than the final status says" in ran.out
    assert "differs from its final status: archive" in ran.err


async def test_unreadable_object_directory_is_left_out(
    run: Run, serve_log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Before, the command ended with the error of the directory, although the served log had been compared."""
    serve_log(TEXT)
    monkeypatch.setenv("SHUTTLE_DATA_DIR", str(tmp_path / ("x" * 300)))  # an error for root, too
    ran = await run("logs", "shop", "7", "--verify")
    assert (ran.code, ran.err) == (0, "")
    assert [line.split()[0] for line in ran.out.splitlines()] == ["fine", "unread"]
    assert "cannot be read (File name too long)" in ran.out


async def test_shorter_log_is_a_problem(run: Run, serve_log):
    serve_log(TEXT[:-1])
    ran = await run("logs", "shop", "7", "--verify")
    assert ran.code == 1
    assert f"has {len(TEXT) - 1} bytes, the final status says {len(TEXT)}" in ran.out


async def test_running_build_cannot_be_verified(run: Run, service: FakeShuttle, final_build):
    final_build["log"] = {"bytes": 4, "sha256": None, "complete": False}
    service.says("GET", "/shop/7", final_build)
    ran = await run("logs", "shop", "7", "--verify")
    assert (ran.code, ran.out) == (1, "")
    assert "has not ended" in ran.err


async def test_topic_is_read_without_duplicates_and_other_builds(run: Run, serve_log, final_build):
    serve_log(TEXT)
    all_of_it = messages(final_build)
    other = messages(final_build | {"build_uuid": "another"})
    async with kafka_cluster() as cluster:
        url = await fill(cluster, "t", other[:2], all_of_it[:3], all_of_it[1:], other, all_of_it[-1:])
        ran = await run("logs", "shop", "7", "--verify", "--sink", url)
    assert (ran.code, ran.err) == (0, "")
    assert f"fine     kafka {cluster.bootstrap}/t identical" in ran.out


async def test_missing_or_different_messages_in_the_topic_are_named(run: Run, serve_log, final_build):
    serve_log(TEXT)
    one, two, finished, last, end = messages(final_build)
    value, headers = two
    cut = value, [*headers, ("cut", b"3")]
    other, torn = (one[0].replace(b"one", b"two"), one[1]), (value, [("offset", b"6"), *headers[1:]])
    async with kafka_cluster() as cluster:
        for topic, portion, problem in (
            ("gap", [one, finished, last, end], "bytes 4 to 14 are missing"),
            ("endless", [one, two, finished, last], "the end is missing"),
            ("cut", [one, cut, finished, last, end], "the line at 4 is cut"),
            ("altered", [one, two, other, finished, last, end], "a duplicate at 0 differs from the first line"),
            ("torn", [one, two, torn, finished, last, end], "a duplicate at 6 differs from the first line"),
            ("empty", messages(final_build | {"build_uuid": "another"}), "the end is missing"),
        ):
            ran = await run("logs", "shop", "7", "--verify", "--sink", await fill(cluster, topic, portion))
            assert ran.code == 1
            assert f"problem  kafka {cluster.bootstrap}/{topic} {problem}" in ran.out


async def test_sink_option_needs_verify_and_a_readable_topic(run: Run, serve_log):
    serve_log(TEXT)
    ran = await run("logs", "shop", "7", "--sink", "kafka://h/t")
    assert (ran.code, "Add --verify" in ran.err) == (2, True)
    ran = await run("logs", "shop", "7", "--verify", "--sink", "kafka://127.0.0.1:9/t")
    assert ran.code == 1
    assert "cannot be reached (Connection refused)" in ran.out
