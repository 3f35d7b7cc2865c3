"""Sends logs to Kafka: several chunks of lines in flight, then the last message (docs/contract.md, "Logs to Kafka")."""

from collections import deque
from collections.abc import Callable
from itertools import islice

from shuttle.errors import RecordTooLargeError, ShuttleError
from shuttle.kafka import Kafka, Stream
from shuttle.logs import LogReader
from shuttle.outgoing.hooks import shown_host
from shuttle.outgoing.kafka_url import KafkaAddress, read_kafka_url
from shuttle.sinks import SinkLedger, SinkTarget
from shuttle.sinks.host_recovery import HostRecovery
from shuttle.sinks.lines import LineReader, Lines, line_start
from shuttle.sinks.messages import Messages

# Chunks in flight of one log. A chunk has 64 KiB (or one longer line), and 6 (short lines) to 15 (long ones) of them
# fill a batch: enough for the batch on the wire, the next one, which is packed meanwhile, and a part of a third.
_MAX_IN_FLIGHT = 32
# Blocks of 64 KiB in flight of all logs together, beyond the first chunk of each: 8 MiB, or up to 1 MiB more if a long
# line is the last. Many logs fill batches without reading ahead.
_MAX_READ_AHEAD = 128


class ReadAhead:
    """How many blocks may still be read ahead: in flight beyond the first chunk of each log. All logs share it."""

    def __init__(self, left: int = _MAX_READ_AHEAD) -> None:
        self.left = left


class KafkaUploadFactory:
    """Makes uploads to Kafka topics; see `UploadFactory`. `timeout_seconds` as in `Kafka.send`."""

    def __init__(self, kafka: Kafka, timeout_seconds: float) -> None:
        self._kafka = kafka
        self._timeout_seconds = timeout_seconds
        self._read_ahead = ReadAhead()

    def upload(
        self, target: SinkTarget, log: LogReader, ledger: SinkLedger, host_recovery: HostRecovery
    ) -> "KafkaUpload":
        """Make the upload of one log; it opens no connection yet."""
        return KafkaUpload(self, target, log, ledger, host_recovery)

    def chunks(self, address: KafkaAddress, messages: Messages, timeout_seconds: Callable[[], float]) -> "_Chunks":
        """The chunks of one attempt."""
        return _Chunks(
            self._kafka.stream(address, messages.key),
            messages,
            self._read_ahead,
            lambda: min(timeout_seconds(), self._timeout_seconds),
        )


class KafkaUpload:
    """See `shuttle.sinks.forward.LogUpload`. No error of Kafka is final: topics and permissions may be added later."""

    def __init__(
        self,
        factory: KafkaUploadFactory,
        target: SinkTarget,
        log: LogReader,
        ledger: SinkLedger,
        host_recovery: HostRecovery,
    ) -> None:
        self.offset = target.acked_offset
        self.problem = ""
        self.refusals = 0
        self.failures = 0
        self._factory = factory
        self._target = target
        self._host = shown_host(target.url)
        self._address = read_kafka_url(target.url, "url")
        self._messages = Messages(target)
        self._log = log
        self._lines = LineReader(log)
        self._ledger = ledger
        self._host_recovery = host_recovery
        self._is_live = False

    async def attempt(self, timeout_seconds: Callable[[], float]) -> bool:
        """Send lines as they come, then the message for the log's end; returns whether all of it is acknowledged."""
        self._is_live = False
        chunks = self._factory.chunks(self._address, self._messages, timeout_seconds)
        try:
            if self.offset:
                # The offset that an http member of a failover acknowledged may lie within a line.
                self.offset = await line_start(self._log, self.offset)
            await self._send_lines(chunks)
            await chunks.finish(self.offset)
            self._host_recovery.succeeded(self._host)
        except RecordTooLargeError:
            if self._messages.cut_more(chunks.oldest):
                # It takes several such steps to find the limit; they must not lengthen the next delay.
                return await self._failed("The topic accepts only smaller messages; long lines are cut.", failures=0)
            return await self._failed("The topic accepts no message of this build, however short the line.")
        except ShuttleError as error:
            return await self._failed(error.message)
        finally:
            chunks.close()
        await self._ledger.done(self._target.sink_id, self.offset)
        return True

    async def _send_lines(self, chunks: "_Chunks") -> None:
        """Keep as many chunks in flight as possible. While the next line is incomplete, await acknowledgements."""
        log, offset = self._log, self.offset
        while chunks.in_flight or not log.complete or offset < log.size_bytes:
            seen_bytes = max(log.size_bytes, offset)
            lines = await self._lines.lines_from(offset) if chunks.has_room else None
            # Other logs may have taken the room while this one looked for the end of a long line.
            if lines is not None and chunks.has_room:
                await chunks.put(lines)
                offset = lines.end_offset
            elif chunks.in_flight:
                await self._acknowledged(await chunks.acknowledged())
            else:
                await log.grown_beyond(seen_bytes)

    async def _acknowledged(self, lines: Lines) -> None:
        self.offset = lines.end_offset
        self.failures = 0
        if not self._is_live:
            self._is_live = True
            self._host_recovery.succeeded(self._host)
            await self._ledger.live(self._target.sink_id)
        await self._ledger.acknowledged(self._target.sink_id, self.offset)

    async def _failed(self, problem: str, failures: int = 1) -> bool:
        self.problem = problem
        self.failures += failures
        await self._ledger.failing(self._target.sink_id, self.problem)
        return False


class _Chunks:
    """The chunks of one log that are in flight, in their order."""

    def __init__(
        self, stream: Stream, messages: Messages, read_ahead: ReadAhead, timeout_seconds: Callable[[], float]
    ) -> None:
        self.in_flight: deque[Lines] = deque()
        self._stream = stream
        self._messages = messages
        self._read_ahead = read_ahead
        self._timeout_seconds = timeout_seconds
        self._any_acknowledged = False

    @property
    def has_room(self) -> bool:
        """Whether another chunk may be put. Reading ahead needs an acknowledgement: a dead cluster occupies no room."""
        may_read_ahead = self._any_acknowledged and len(self.in_flight) < _MAX_IN_FLIGHT and self._read_ahead.left > 0
        return not self.in_flight or may_read_ahead

    @property
    def oldest(self) -> Lines:
        """The chunk that an error of `acknowledged` is about."""
        return self.in_flight[0]

    async def put(self, lines: Lines) -> None:
        """Send a chunk after the others."""
        if self.in_flight:
            self._read_ahead.left -= lines.blocks
        self.in_flight.append(lines)
        await self._stream.put(self._messages.of(lines), self._timeout_seconds())

    async def acknowledged(self) -> Lines:
        """Return the oldest chunk once it is acknowledged."""
        await self._stream.acknowledged(self._timeout_seconds())
        self._any_acknowledged = True
        lines = self.in_flight.popleft()
        if self.in_flight:
            self._read_ahead.left += self.oldest.blocks
        return lines

    async def finish(self, log_bytes: int) -> None:
        """Send the last message, when nothing else is in flight, and return once it is acknowledged."""
        self.in_flight.append(Lines(log_bytes, b""))
        await self._stream.put(self._messages.finished(log_bytes), self._timeout_seconds())
        await self.acknowledged()

    def close(self) -> None:
        """Withdraw the chunks that are still in flight."""
        self._stream.close()
        self._read_ahead.left += sum(lines.blocks for lines in islice(self.in_flight, 1, None))
        self.in_flight.clear()
