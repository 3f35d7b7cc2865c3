"""A log as Kafka messages: their format, when they are sent, and which are sent again after a failure."""

import asyncio
import json
from dataclasses import dataclass, field
from functools import partial

import pytest

from shuttle.clock import Clock
from shuttle.kafka.clusters import KafkaClusters
from shuttle.logs.spool import Spool
from shuttle.sinks import SinkTarget
from shuttle.sinks.forward import LogForwarder
from shuttle.sinks.host_recovery import HostRecovery
from shuttle.sinks.kafka import KafkaUploadFactory
from shuttle.sinks.lines import LineReader, Lines, line_start
from tests.support.kafka_broker import PRODUCE, Broker, broker, hanging_at, no_faults
from tests.unit.sinks.conftest import QUICK, Build, Ledger

MIB = 1024 * 1024


def messages(running: Broker) -> list[tuple[str, int]]:
    """The message and the offset of each record, duplicates included."""
    return [(json.loads(value)["message"], int(headers["offset"])) for _, value, headers in running.appended]


async def test_each_line_is_a_message_and_the_end_is_another(build: Build, kafka: KafkaClusters) -> None:
    async with broker() as running:
        forwarding = build.forward_with(
            KafkaUploadFactory(kafka, 5), running.url(), app_id="żółw", build_id='b"1', metadata_json='{"a":"\\u017c"}'
        )
        text = '  two spaces\n\nżółw "q" \\ \t\r\x1b[0m\nlast'
        build.log.append(text.encode())
        await running.until(lambda: len(running.appended) == 3)
        await build.ledger.until("live")
        build.end()
        await forwarding
    lines = text.split("\n")
    assert messages(running) == [(lines[0], 0), (lines[1], 13), (lines[2], 14), (lines[3], 35), ("Build finished", 39)]
    assert len(text.encode()) == 39
    key, value, headers = running.appended[0]
    assert key == 'żółw/b"1'.encode()
    assert list(json.loads(value)) == ["metadata", "build", "job", "message"]
    assert json.loads(value) == {"metadata": {"a": "ż"}, "build": 'b"1', "job": 'b"1', "message": "  two spaces"}
    assert headers == {"offset": b"0", "build_uuid": b"u-1"}
    assert [headers.get("no_newline") for *_, headers in running.appended] == [None, None, None, b"true", None]
    assert build.ledger.calls[-1] == ("done", 39)


async def test_line_is_sent_once_it_is_complete(build: Build, kafka: KafkaClusters) -> None:
    async with broker() as running:
        forwarding = build.forward_with(KafkaUploadFactory(kafka, 5), running.url())
        build.log.append(b"one\ntw")
        await running.until(lambda: len(running.appended) == 1)
        build.log.append(b"o\n")
        await running.until(lambda: len(running.appended) == 2)
        build.end()
        await forwarding
    assert messages(running) == [("one", 0), ("two", 4), ("Build finished", 8)]


async def test_empty_log_is_sent_as_its_end_only(build: Build, kafka: KafkaClusters) -> None:
    async with broker() as running:
        build.end()
        await build.forward_with(KafkaUploadFactory(kafka, 5), running.url())
    assert messages(running) == [("Build finished", 0)]
    assert build.ledger.calls == [("done", 0)]


async def test_sending_resumes_at_the_acknowledged_line(build: Build, kafka: KafkaClusters) -> None:
    async with broker() as running:
        build.log.append(b"one\ntwo\nthree\n")
        build.end()
        await build.forward_with(KafkaUploadFactory(kafka, 5), running.url(), acked_offset=4)
        assert messages(running) == [("two", 4), ("three", 8), ("Build finished", 14)]
        running.appended.clear()
        await build.forward_with(KafkaUploadFactory(kafka, 5), running.url(), acked_offset=6)
        assert messages(running) == [("two", 4), ("three", 8), ("Build finished", 14)]


async def test_unacknowledged_lines_are_sent_again_after_a_failure(build: Build, kafka: KafkaClusters) -> None:
    async with broker() as running:
        failures = [29, 29]  # TOPIC_AUTHORIZATION_FAILED

        async def failing(api: int) -> int | None:
            return failures.pop() if api == PRODUCE and failures and running.appended else None

        running.answering = failing
        forwarding = build.forward_with(KafkaUploadFactory(kafka, 5), running.url())
        build.log.append(b"one\n")
        await running.until(lambda: running.appended)
        build.log.append(b"two\n")
        await build.ledger.until("failing", 2)
        build.end()
        await forwarding
    assert messages(running) == [("one", 0), ("two", 4), ("Build finished", 8)]
    assert build.ledger.calls[-1] == ("done", 8)
    assert build.ledger.details("failing") == [f"Kafka {running.bootstrap} denies writing to the topic."] * 2


async def test_lines_above_the_brokers_limit_are_cut_and_marked(build: Build, kafka: KafkaClusters) -> None:
    async with broker() as running:
        running.max_batch_bytes = 3000
        build.log.append(b"short\n" + b"x" * 10_000 + b"\nend\n")
        build.end()
        await build.forward_with(KafkaUploadFactory(kafka, 5), running.url())
    known = {int(headers["offset"]): (json.loads(value)["message"], headers) for _, value, headers in running.appended}
    assert sorted(known) == [0, 6, 10_007, 10_011]
    line, headers = known[6]
    assert set(line) == {"x"}
    assert len(line) + int(headers["cut"]) == 10_000
    assert 600 < len(line) < 3000
    assert "cut" not in known[0][1]
    assert build.ledger.calls[-1] == ("done", 10_011)


async def test_cutting_a_line_in_steps_does_not_lengthen_delays(build: Build, kafka: KafkaClusters) -> None:
    """If each step counted as a failure, a line of 256 KiB could delay its log for minutes."""
    async with broker() as running:
        running.max_batch_bytes = 3000
        build.log.append(b"x" * 262_144 + b"\n")
        build.end()
        target = SinkTarget(
            sink_id=1, build_uuid="u-1", app_id="app", build_id="b1", metadata_json="null", url=running.url()
        )
        upload = KafkaUploadFactory(kafka, 5).upload(target, build.log, build.ledger, build.host_recovery)
        steps = 0
        while not await upload.attempt(lambda: 5):
            steps += 1
            assert upload.failures == 0
    assert steps == 7
    assert build.ledger.calls[-1] == ("done", 262_145)


async def test_topic_that_accepts_no_message_is_reported_as_such(build: Build, kafka: KafkaClusters) -> None:
    async with broker() as running:
        running.max_batch_bytes = 100
        forwarding = build.forward_with(KafkaUploadFactory(kafka, 5), running.url())
        build.log.append(b"x" * 100 + b"\n")
        await build.ledger.until("failing", 2)
        running.max_batch_bytes = 1000
        build.end()
        await forwarding
    assert build.ledger.details("failing")[:2] == [
        "The topic accepts only smaller messages; long lines are cut.",
        "The topic accepts no message of this build, however short the line.",
    ]


async def test_cancelled_sink_records_the_acknowledged_offset_and_sends_no_end(
    build: Build, kafka: KafkaClusters
) -> None:
    async with broker() as running:
        forwarding = build.forward_with(KafkaUploadFactory(kafka, 5), running.url())
        for count in (1, 2, 3):
            build.log.append(b"line\n")
            await running.until(partial(has_appended, running, count))
        await kafka_is_quiet(build, 15)
        forwarding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await forwarding
        assert build.ledger.details("acknowledged")[-1] == 15
    assert [message for message, _ in messages(running)] == ["line"] * 3


def has_appended(running: Broker, count: int) -> bool:
    return len(running.appended) == count


async def kafka_is_quiet(build: Build, offset: int) -> None:
    """Return once the sink waits for more of the log: it has then received the last acknowledgement."""
    async with asyncio.timeout(5):
        while not build.log._waiting:
            await asyncio.sleep(0)


async def test_lines_of_any_length_join_to_the_log(tmp_path) -> None:
    text = b"".join(b"%s\n" % (b"x" * (number * 7919 % 300_000)) for number in range(40)) + b"end"
    log = Spool(tmp_path / "spool")
    log.append(text)
    reader = LineReader(log)
    assert await reader.lines_from(len(text) - 3) is None
    log.end()
    offset, joined = 0, b""
    while (lines := await reader.lines_from(offset)) is not None:
        assert lines.offset == offset
        joined += lines.text + (b"" if lines.no_newline else b"\n")
        offset = lines.end_offset
        assert await line_start(log, offset) == (offset if not lines.no_newline else len(text) - 3)
    assert joined == text
    assert await line_start(log, 5) == text.rfind(b"\n", 0, 5) + 1
    assert Lines(0, b"a\n").end_offset == 3


@dataclass
class Reading:
    """The bytes of all logs that are read and not acknowledged; `peak_bytes` is their highest sum so far."""

    far_bytes: int = 9 * MIB
    unacknowledged: dict[int, int] = field(default_factory=dict)
    peak_bytes: int = 0
    far_ahead: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self, number: int, size_bytes: int) -> None:
        self.unacknowledged[number] = size_bytes
        self.peak_bytes = max(self.peak_bytes, sum(self.unacknowledged.values()))
        if self.peak_bytes > self.far_bytes:
            self.far_ahead.set()


class WholeLog:
    """A log of equal lines that reports how far it is read."""

    complete = True

    def __init__(self, number: int, reading: Reading, *, size_bytes: int = MIB, line_bytes: int = 1024) -> None:
        self.size_bytes = size_bytes
        self.ledger = Ledger()
        self._number = number
        self._reading = reading
        self._text = (b"x" * (line_bytes - 1) + b"\n") * (size_bytes // line_bytes)

    async def read(self, offset: int, limit_bytes: int) -> bytes:
        block = self._text[offset : offset + limit_bytes]
        acked_offset = max([0, *(int(str(each)) for each in self.ledger.details("acknowledged"))])
        self._reading.note(self._number, offset + len(block) - acked_offset)
        return block

    async def grown_beyond(self, offset: int) -> None:
        """Never waits: the log is complete."""


@pytest.mark.parametrize(("count", "size_bytes", "line_bytes"), [(40, MIB, 1024), (10, 4 * MIB, 512 * 1024)])
async def test_read_ahead_of_many_logs_together_is_bounded(
    kafka: KafkaClusters, count: int, size_bytes: int, line_bytes: int
) -> None:
    first_bytes = count * max(line_bytes, 64 * 1024)
    # While a log looks for the end of a long line, another log may take the room that is left.
    looked_at_bytes = count * line_bytes if line_bytes > 64 * 1024 else 0
    left = list[int]()
    reading, factory = Reading(far_bytes=first_bytes + 6 * MIB), KafkaUploadFactory(kafka, 5)
    logs = [WholeLog(number, reading, size_bytes=size_bytes, line_bytes=line_bytes) for number in range(count)]
    async with broker() as running:

        async def slow_once_all_have_begun(api: int) -> None:
            if api == PRODUCE and all(log.ledger.details("live") for log in logs):
                await reading.far_ahead.wait()
            left.append(factory._read_ahead.left)

        running.answering = slow_once_all_have_begun
        await asyncio.gather(
            *(
                LogForwarder(factory, QUICK, HostRecovery(), Clock()).forward(
                    target(running.url(), number), log, log.ledger, lambda: None
                )
                for number, log in enumerate(logs)
            )
        )
    assert all(log.ledger.calls[-1] == ("done", size_bytes) for log in logs)
    assert reading.peak_bytes <= first_bytes + looked_at_bytes + 8 * MIB
    assert min(left) >= 0
    assert factory._read_ahead.left == 128


async def test_nothing_is_read_ahead_before_the_first_acknowledgement(kafka: KafkaClusters) -> None:
    reading, factory = Reading(), KafkaUploadFactory(kafka, 0.2)
    log = WholeLog(1, reading)
    async with broker() as running:
        running.answering = hanging_at(PRODUCE)
        forwarding = asyncio.ensure_future(
            LogForwarder(factory, QUICK, HostRecovery(), Clock()).forward(
                target(running.url(), 1), log, log.ledger, lambda: None
            )
        )
        await log.ledger.until("failing")
        assert reading.peak_bytes == 64 * 1024
        running.answering = no_faults
        running.hung.set()
        await forwarding
    assert log.ledger.calls[-1] == ("done", MIB)


def target(url: str, number: int) -> SinkTarget:
    return SinkTarget(
        sink_id=number, build_uuid=f"u-{number}", app_id="app", build_id=f"{number}", metadata_json="null", url=url
    )
