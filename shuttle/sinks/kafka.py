"""Logs to Kafka: a message a line, and a last one that says that the build finished (contract section 4)."""

import asyncio
import json
import math
from collections.abc import Callable, Iterator
from json.encoder import encode_basestring

from shuttle.errors import RecordTooLargeError, ShuttleError
from shuttle.kafka import Kafka, Record
from shuttle.logs import LogReader
from shuttle.outgoing.kafka_url import read_kafka_url
from shuttle.sinks import SinkLedger, SinkTarget
from shuttle.sinks.lines import Lines, line_start, next_lines

FINISHED = "Build finished"
# What is handed over at once: with keys and headers still within one batch.
_SHIPMENT_BYTES = 384 * 1024
# A killed shuttle repeats at most what it was acknowledged in this time; each note costs a commit.
_NOTED_EVERY_SECONDS = 1.0
# A message that is smaller than this is not what a broker refuses.
_LEAST_LINE_BYTES = 64


class KafkaSender:
    """Makes carriages to Kafka topics; see `shuttle.sinks.carry.Sender`. `patience_seconds` as in `Kafka.send`."""

    def __init__(self, kafka: Kafka, patience_seconds: float) -> None:
        self._kafka = kafka
        self._patience_seconds = patience_seconds

    def carriage(self, target: SinkTarget, log: LogReader, ledger: SinkLedger) -> "KafkaCarriage":
        """For one log; nothing is opened yet."""
        return KafkaCarriage(self._kafka, self._patience_seconds, target, log, ledger)


class KafkaCarriage:
    """See `shuttle.sinks.carry.Carriage`. Kafka refuses nothing for good: topics and rights may come."""

    def __init__(
        self, kafka: Kafka, longest_seconds: float, target: SinkTarget, log: LogReader, ledger: SinkLedger
    ) -> None:
        self.offset = target.acked_offset
        self.problem = ""
        self.refusals = 0
        self.failures = 0
        self._kafka = kafka
        self._longest_seconds = longest_seconds
        self._target = target
        self._address = read_kafka_url(target.url, "url")
        self._messages = Messages(target)
        self._log = log
        self._ledger = ledger
        self._is_live = False
        self._noted_offset = target.acked_offset
        self._noted_at = -math.inf

    async def tried(self, patience_seconds: Callable[[], float]) -> bool:
        """Send lines as they come until the log's end, then the end; whether all of it is acknowledged."""
        self._is_live = False
        try:
            if self.offset:
                # Where an http member of a failover was acknowledged is not always the beginning of a line.
                self.offset = await line_start(self._log, self.offset)
            while (lines := await next_lines(self._log, self.offset)) is not None:
                for end_offset, records in self._messages.shipments(lines):
                    await self._send(records, patience_seconds)
                    await self._acknowledged(end_offset)
            await self._send([self._messages.finished(self.offset)], patience_seconds)
        except asyncio.CancelledError:
            await self._note()
            raise
        except RecordTooLargeError:
            self._messages.cut_more()
            return await self._failed("takes only smaller messages: lines are cut")
        except ShuttleError as error:
            return await self._failed(error.message.rstrip("."))
        await self._ledger.done(self._target.sink_id, self.offset)
        return True

    async def _send(self, records: list[Record], patience_seconds: Callable[[], float]) -> None:
        patience = min(patience_seconds(), self._longest_seconds)
        await self._kafka.send(self._address, self._messages.key, records, patience_seconds=patience)

    async def _acknowledged(self, offset: int) -> None:
        self.offset = offset
        self.failures = 0
        if not self._is_live:
            self._is_live = True
            await self._ledger.live(self._target.sink_id)
        if asyncio.get_running_loop().time() - self._noted_at >= _NOTED_EVERY_SECONDS:
            await self._note()

    async def _note(self) -> None:
        if self.offset > self._noted_offset:
            await self._ledger.acknowledged(self._target.sink_id, self.offset)
            self._noted_offset = self.offset
            self._noted_at = asyncio.get_running_loop().time()

    async def _failed(self, problem: str) -> bool:
        self.problem = f"{problem}."
        self.failures += 1
        await self._note()
        await self._ledger.failing(self._target.sink_id, self.problem)
        return False


class Messages:
    """The messages of one build's log, as contract section 4 has them."""

    def __init__(self, target: SinkTarget) -> None:
        self.key = f"{target.app_id}/{target.build_id}".encode()
        self._build_uuid = ("build_uuid", target.build_uuid.encode())
        build_id = json.dumps(target.build_id, ensure_ascii=False)
        head = f'{{"metadata":{target.metadata_json or "null"},"build":{build_id},"job":{build_id},"message":'
        self._head = head.encode("utf-8", "surrogatepass")
        self._max_line_bytes: int | None = None
        self._longest_bytes = 0

    def shipments(self, lines: Lines) -> Iterator[tuple[int, list[Record]]]:
        """The lines as messages in portions of bounded size, each with the offset behind it."""
        records: list[Record] = []
        portion_bytes, offset = 0, lines.offset
        unended = len(lines.lines) if lines.no_newline else 0
        for place, line in enumerate(lines.lines, start=1):
            record = self._line(line, offset)
            offset += len(line) + 1
            if place == unended:
                record.headers.append(("no_newline", b"true"))
                offset -= 1
            records.append(record)
            portion_bytes += len(record.value)
            if portion_bytes >= _SHIPMENT_BYTES or place == len(lines.lines):
                self._longest_bytes = max(len(each.value) for each in records) - len(self._head)
                yield offset, records
                records, portion_bytes = [], 0

    def finished(self, log_bytes: int) -> Record:
        """The last message: no line of the log, and its offset is the log's size."""
        return self._line(FINISHED.encode(), log_bytes)

    def cut_more(self) -> None:
        """The broker takes no line as long as the longest of the last portion: cut lines to half of that."""
        self._max_line_bytes = max(
            min(self._longest_bytes, self._max_line_bytes or self._longest_bytes) // 2, _LEAST_LINE_BYTES
        )

    def _line(self, line: bytes, offset: int) -> Record:
        headers = [("offset", b"%d" % offset), self._build_uuid]
        if self._max_line_bytes is not None and len(line) > self._max_line_bytes:
            headers.append(("cut", b"%d" % (len(line) - self._max_line_bytes)))
            line = line[: self._max_line_bytes].decode("utf-8", "ignore").encode()
        return Record(b"%s%s}" % (self._head, encode_basestring(line.decode("utf-8", "replace")).encode()), headers)
