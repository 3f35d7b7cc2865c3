"""A log as Kafka messages: the form of each, what is sent when, and what a failure repeats."""

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
from shuttle.sinks.lines import Lines, line_start, lines_from
from tests.kafka_broker import PRODUCE, Broker, broker, hanging_at, well
from tests.unit.sinks.conftest import QUICK, Build, Ledger

MIB = 1024 * 1024


def messages(running: Broker) -> list[tuple[str, int]]:
    """The message and the offset of each record, doubles included."""
    return [(json.loads(value)["message"], int(headers["offset"])) for _, value, headers in running.appended]


async def test_a_message_a_line_and_one_for_the_end(build: Build, kafka: KafkaClusters) -> None:
    async with broker() as running:
        carrying = build.carry_by(
            KafkaUploadFactory(kafka, 5), running.url(), app_id="żółw", build_id='b"1', metadata_json='{"a":"\\u017c"}'
        )
        text = '  two spaces\n\nżółw "q" \\ \t\r\x1b[0m\nlast'
        build.log.append(text.encode())
        await running.until(lambda: len(running.appended) == 3)
        await build.ledger.until("live")
        build.end()
        await carrying
    lines = text.split("\n")
    assert messages(running) == [(lines[0], 0), (lines[1], 13), (lines[2], 14), (lines[3], 35), ("Build finished", 39)]
    assert len(text.encode()) == 39
    key, value, headers = running.appended[0]
    assert key == 'żółw/b"1'.encode()
    assert list(json.loads(value)) == ["metadata", "build", "job", "message"]
    assert json.loads(value) == {"metadata": {"a": "ż"}, "build": 'b"1', "job": 'b"1', "message": "  two spaces"}
    assert headers == {"offset": b"0", "build_uuid": b"u-1"}
    assert [headers.get("no_newline") for *_, headers in running.appended] == [None, None, None, b"true", None]
    assert build.ledger.said[-1] == ("done", 39)


async def test_a_line_is_sent_when_it_is_whole(build: Build, kafka: KafkaClusters) -> None:
    async with broker() as running:
        carrying = build.carry_by(KafkaUploadFactory(kafka, 5), running.url())
        build.log.append(b"one\ntw")
        await running.until(lambda: len(running.appended) == 1)
        build.log.append(b"o\n")
        await running.until(lambda: len(running.appended) == 2)
        build.end()
        await carrying
    assert messages(running) == [("one", 0), ("two", 4), ("Build finished", 8)]


async def test_an_empty_log_gets_its_end(build: Build, kafka: KafkaClusters) -> None:
    async with broker() as running:
        build.end()
        await build.carry_by(KafkaUploadFactory(kafka, 5), running.url())
    assert messages(running) == [("Build finished", 0)]
    assert build.ledger.said == [("done", 0)]


async def test_it_goes_on_at_the_acknowledged_line(build: Build, kafka: KafkaClusters) -> None:
    async with broker() as running:
        build.log.append(b"one\ntwo\nthree\n")
        build.end()
        await build.carry_by(KafkaUploadFactory(kafka, 5), running.url(), acked_offset=4)
        assert messages(running) == [("two", 4), ("three", 8), ("Build finished", 14)]
        running.appended.clear()
        await build.carry_by(KafkaUploadFactory(kafka, 5), running.url(), acked_offset=6)
        assert messages(running) == [("two", 4), ("three", 8), ("Build finished", 14)]


async def test_after_a_failure_everything_unacknowledged_comes_again(build: Build, kafka: KafkaClusters) -> None:
    async with broker() as running:
        failures = [29, 29]  # TOPIC_AUTHORIZATION_FAILED

        async def failing(api: int) -> int | None:
            return failures.pop() if api == PRODUCE and failures and running.appended else None

        running.answering = failing
        carrying = build.carry_by(KafkaUploadFactory(kafka, 5), running.url())
        build.log.append(b"one\n")
        await running.until(lambda: running.appended)
        build.log.append(b"two\n")
        await build.ledger.until("failing", 2)
        build.end()
        await carrying
    assert messages(running) == [("one", 0), ("two", 4), ("Build finished", 8)]
    assert build.ledger.said[-1] == ("done", 8)
    assert build.ledger.details("failing") == [f"Kafka {running.bootstrap} does not let us write to the topic."] * 2


async def test_lines_beyond_the_brokers_limit_are_cut_and_say_so(build: Build, kafka: KafkaClusters) -> None:
    async with broker() as running:
        running.max_batch_bytes = 3000
        build.log.append(b"short\n" + b"x" * 10_000 + b"\nend\n")
        build.end()
        await build.carry_by(KafkaUploadFactory(kafka, 5), running.url())
    known = {int(headers["offset"]): (json.loads(value)["message"], headers) for _, value, headers in running.appended}
    assert sorted(known) == [0, 6, 10_007, 10_011]
    line, headers = known[6]
    assert set(line) == {"x"}
    assert len(line) + int(headers["cut"]) == 10_000
    assert 600 < len(line) < 3000
    assert "cut" not in known[0][1]
    assert build.ledger.said[-1] == ("done", 10_011)


async def test_the_steps_to_a_line_that_fits_make_no_pause_longer(build: Build, kafka: KafkaClusters) -> None:
    """Were each of them a failure, a line of 256 KiB could hold up its log for minutes."""
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
    assert build.ledger.said[-1] == ("done", 262_145)


async def test_a_topic_that_takes_no_message_is_told_from_one_whose_lines_are_cut(
    build: Build, kafka: KafkaClusters
) -> None:
    async with broker() as running:
        running.max_batch_bytes = 100
        carrying = build.carry_by(KafkaUploadFactory(kafka, 5), running.url())
        build.log.append(b"x" * 100 + b"\n")
        await build.ledger.until("failing", 2)
        running.max_batch_bytes = 1000
        build.end()
        await carrying
    assert build.ledger.details("failing")[:2] == [
        "The topic takes only smaller messages: lines are cut.",
        "The topic takes no message of this build, however short the line.",
    ]


async def test_cancelled_it_notes_what_is_acknowledged_and_sends_no_end(build: Build, kafka: KafkaClusters) -> None:
    async with broker() as running:
        carrying = build.carry_by(KafkaUploadFactory(kafka, 5), running.url())
        for count in (1, 2, 3):
            build.log.append(b"line\n")
            await running.until(partial(has_appended, running, count))
        await kafka_is_quiet(build, 15)
        carrying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await carrying
        assert build.ledger.details("acknowledged")[-1] == 15
    assert [message for message, _ in messages(running)] == ["line"] * 3


def has_appended(running: Broker, count: int) -> bool:
    return len(running.appended) == count


async def kafka_is_quiet(build: Build, offset: int) -> None:
    """The last acknowledgement has reached the sink when it waits for more of the log."""
    async with asyncio.timeout(5):
        while not build.log._waiting:
            await asyncio.sleep(0)


async def test_a_log_of_chance_is_joined_from_its_lines(tmp_path) -> None:
    text = b"".join(b"%s\n" % (b"x" * (number * 7919 % 300_000)) for number in range(40)) + b"end"
    log = Spool(tmp_path / "spool")
    log.append(text)
    assert await lines_from(log, len(text) - 3) is None
    log.end()
    offset, joined = 0, b""
    while (lines := await lines_from(log, offset)) is not None:
        assert lines.offset == offset
        joined += lines.text + (b"" if lines.no_newline else b"\n")
        offset = lines.end_offset
        assert await line_start(log, offset) == (offset if not lines.no_newline else len(text) - 3)
    assert joined == text
    assert await line_start(log, 5) == text.rfind(b"\n", 0, 5) + 1
    assert Lines(0, b"a\n").end_offset == 3


@dataclass
class Reading:
    """How many bytes of all logs are read and not acknowledged, and the most that ever were."""

    under_way: dict[int, int] = field(default_factory=dict)
    most_bytes: int = 0
    far_ahead: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self, number: int, size_bytes: int) -> None:
        self.under_way[number] = size_bytes
        self.most_bytes = max(self.most_bytes, sum(self.under_way.values()))
        if self.most_bytes > 9 * MIB:
            self.far_ahead.set()


class WholeLog:
    """A log of 1 MiB that tells how far it is read."""

    complete = True
    size_bytes = MIB

    def __init__(self, number: int, reading: Reading) -> None:
        self.ledger = Ledger()
        self._number = number
        self._reading = reading
        self._text = (b"x" * 1023 + b"\n") * 1024

    async def read(self, offset: int, limit_bytes: int) -> bytes:
        block = self._text[offset : offset + limit_bytes]
        acked_offset = max([0, *(int(str(each)) for each in self.ledger.details("acknowledged"))])
        self._reading.note(self._number, offset + len(block) - acked_offset)
        return block

    async def grown_beyond(self, offset: int) -> None:
        """It is whole."""


async def test_many_logs_together_are_read_ahead_within_bounds(kafka: KafkaClusters) -> None:
    reading, sender = Reading(), KafkaUploadFactory(kafka, 5)
    logs = [WholeLog(number, reading) for number in range(40)]
    async with broker() as running:

        async def slow_once_all_have_begun(api: int) -> None:
            if api == PRODUCE and all(log.ledger.details("live") for log in logs):
                await reading.far_ahead.wait()

        running.answering = slow_once_all_have_begun
        await asyncio.gather(
            *(
                LogForwarder(sender, QUICK, HostRecovery(), Clock()).carry(
                    target(running.url(), number), log, log.ledger, lambda: None
                )
                for number, log in enumerate(logs)
            )
        )
    assert all(log.ledger.said[-1] == ("done", MIB) for log in logs)
    assert reading.most_bytes <= 8 * MIB + 40 * 64 * 1024


async def test_nothing_is_read_ahead_for_a_cluster_that_takes_nothing(kafka: KafkaClusters) -> None:
    reading, sender = Reading(), KafkaUploadFactory(kafka, 0.2)
    log = WholeLog(1, reading)
    async with broker() as running:
        running.answering = hanging_at(PRODUCE)
        carrying = asyncio.ensure_future(
            LogForwarder(sender, QUICK, HostRecovery(), Clock()).carry(
                target(running.url(), 1), log, log.ledger, lambda: None
            )
        )
        await log.ledger.until("failing")
        assert reading.most_bytes == 64 * 1024
        running.answering = well
        running.hung.set()
        await carrying
    assert log.ledger.said[-1] == ("done", MIB)


def target(url: str, number: int) -> SinkTarget:
    return SinkTarget(
        sink_id=number, build_uuid=f"u-{number}", app_id="app", build_id=f"{number}", metadata_json="null", url=url
    )
