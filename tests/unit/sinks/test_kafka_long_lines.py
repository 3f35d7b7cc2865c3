"""A line of many MiB as a Kafka message: it is read once and in blocks, and its offsets are those of the log."""

import asyncio
import json
from pathlib import Path

import pytest

from shuttle.kafka.clusters import KafkaClusters
from shuttle.logs.spool import Spool
from shuttle.sinks.kafka import KafkaUploadFactory
from shuttle.sinks.lines import LineReader, Lines
from tests.support.kafka_broker import PRODUCE, Broker, broker
from tests.unit.sinks.conftest import Build

BLOCK = 64 * 1024
MIB = 1024 * 1024
REFUSED = 29  # TOPIC_AUTHORIZATION_FAILED


class CountingSpool(Spool):
    """A log that counts what is read, and how much of that is read while no other task runs."""

    read_bytes = 0
    without_pause_bytes = 0
    most_without_pause_bytes = 0

    async def read(self, offset: int, limit_bytes: int) -> bytes:
        block = await super().read(offset, limit_bytes)
        self.read_bytes += len(block)
        if not self.without_pause_bytes:
            asyncio.get_running_loop().call_soon(self._note_pause)
        self.without_pause_bytes += len(block)
        self.most_without_pause_bytes = max(self.most_without_pause_bytes, self.without_pause_bytes)
        return block

    def _note_pause(self) -> None:
        self.without_pause_bytes = 0

    async def until_a_sink_waits(self) -> None:
        """Return once a sink has looked at all bytes and waits for more."""
        async with asyncio.timeout(5):
            while all(waiting.done() for waiting in self._waiting):
                await asyncio.sleep(0)


@pytest.fixture
def log(build: Build, tmp_path: Path) -> CountingSpool:
    build.log = log = CountingSpool(tmp_path / "counting")
    return log


def lines(running: Broker) -> list[tuple[str, int, int]]:
    """Each message with its offset and the number of cut bytes."""
    return [
        (json.loads(value)["message"], int(headers["offset"]), int(headers.get("cut", 0)))
        for _, value, headers in running.appended
    ]


async def test_one_mib_of_a_longer_line_is_sent_and_the_rest_reported_as_cut(
    build: Build, log: CountingSpool, kafka: KafkaClusters
) -> None:
    text = b"one\n" + b"\r" * 3 * MIB + b"\ntwo\n" + b"x" + "ż".encode() * 3 * MIB
    log.append(text)
    build.end()
    async with broker() as running:
        await build.forward_with(KafkaUploadFactory(kafka, 5), running.url())
    second, last = 3 * MIB + 5, 3 * MIB + 9
    assert lines(running) == [
        ("one", 0, 0),
        ("\r" * MIB, 4, 2 * MIB),
        ("two", second, 0),
        ("x" + "ż" * (MIB // 2 - 1), last, 5 * MIB + 2),
        ("Build finished", len(text), 0),
    ]
    assert [headers.get("no_newline") for *_, headers in running.appended] == [None, None, None, b"true", None]
    assert build.ledger.calls[-1] == ("done", len(text))


@pytest.mark.parametrize("acked_offset", [3, 3 + 2 * MIB, 3 + 3 * MIB])
async def test_long_line_is_sent_whole_if_the_acknowledged_offset_is_within_it(
    build: Build, log: CountingSpool, kafka: KafkaClusters, acked_offset: int
) -> None:
    log.append(b"12\n" + b"\r" * 3 * MIB + b"\ntwo\n")
    build.end()
    async with broker() as running:
        await build.forward_with(KafkaUploadFactory(kafka, 5), running.url(), acked_offset=acked_offset)
    assert [(offset, cut) for _, offset, cut in lines(running)] == [(3, 2 * MIB), (3 * MIB + 4, 0), (3 * MIB + 8, 0)]


async def test_sending_resumes_after_a_cut_line(build: Build, log: CountingSpool, kafka: KafkaClusters) -> None:
    log.append(b"\r" * 3 * MIB + b"\ntwo\n")
    async with broker() as running:
        forwarding = build.forward_with(KafkaUploadFactory(kafka, 5), running.url())
        await build.ledger.until("acknowledged", 2)
        forwarding.cancel()
        assert build.ledger.details("acknowledged") == [3 * MIB + 1, 3 * MIB + 5]
        running.appended.clear()
        build.end()
        await build.forward_with(KafkaUploadFactory(kafka, 5), running.url(), acked_offset=3 * MIB + 1)
    assert lines(running) == [("two", 3 * MIB + 1, 0), ("Build finished", 3 * MIB + 5, 0)]


async def test_cut_counts_what_the_topic_refuses_too(build: Build, log: CountingSpool, kafka: KafkaClusters) -> None:
    log.append(b"\r" * 3 * MIB + b"\n")
    build.end()
    async with broker() as running:
        running.max_batch_bytes = MIB
        await build.forward_with(KafkaUploadFactory(kafka, 5), running.url())
    line, offset, cut = lines(running)[0]
    assert (len(line), offset, cut) == (MIB // 4, 0, 3 * MIB - MIB // 4)  # a CR has two bytes in JSON


async def test_growing_line_is_read_once(build: Build, log: CountingSpool, kafka: KafkaClusters) -> None:
    async with broker() as running:
        forwarding = build.forward_with(KafkaUploadFactory(kafka, 5), running.url())
        for _ in range(64):
            log.append(b"\r" * BLOCK)
            await log.until_a_sink_waits()
        assert log.read_bytes == 64 * BLOCK
        log.append(b"\n")
        await running.until(lambda: running.appended)
        build.end()
        await forwarding
    assert log.read_bytes <= 64 * BLOCK + MIB + 3


async def test_failed_attempts_read_only_the_part_that_is_sent(
    build: Build, log: CountingSpool, kafka: KafkaClusters
) -> None:
    log.append(b"\r" * 8 * MIB + b"\n")
    build.end()
    async with broker() as running:
        failures = [REFUSED] * 5

        async def failing(api: int) -> int | None:
            return failures.pop() if api == PRODUCE and failures else None

        running.answering = failing
        await build.forward_with(KafkaUploadFactory(kafka, 5), running.url())
        assert not failures
    assert log.read_bytes <= 8 * MIB + 6 * (MIB + BLOCK)


@pytest.mark.parametrize("acked_offset", [0, 8 * MIB])
async def test_other_tasks_run_while_a_long_line_is_read(
    build: Build, log: CountingSpool, kafka: KafkaClusters, acked_offset: int
) -> None:
    log.append(b"\r" * 8 * MIB)
    build.end()
    async with broker() as running:
        await build.forward_with(KafkaUploadFactory(kafka, 5), running.url(), acked_offset=acked_offset)
    assert log.most_without_pause_bytes <= MIB + 2 * BLOCK


async def test_no_part_of_a_line_is_taken_for_the_line_while_a_truncated_log_is_written_again(
    log: CountingSpool,
) -> None:
    text, reader = b"\r" * 2 * MIB, LineReader(log)
    log.append(text)
    log.end()
    whole = Lines(0, b"\r" * MIB, no_newline=True, dropped_bytes=MIB)
    assert await reader.lines_from(0) == whole
    log.truncate(10)
    assert await reader.lines_from(0) is None
    log.append(text[10:])
    log.end()
    assert await reader.lines_from(0) == whole
