"""Logs to Kafka: several portions of lines on their way, then the last message (docs/contract.md, "Logs to Kafka")."""

from collections import deque
from collections.abc import Callable

from shuttle.errors import RecordTooLargeError, ShuttleError
from shuttle.kafka import Kafka, Stream
from shuttle.logs import LogReader
from shuttle.outgoing.hooks import shown_host
from shuttle.outgoing.kafka_url import KafkaAddress, read_kafka_url
from shuttle.sinks import SinkLedger, SinkTarget
from shuttle.sinks.host_recovery import HostRecovery
from shuttle.sinks.lines import Lines, line_start, lines_from
from shuttle.sinks.messages import Messages

# Of 64 KiB each, and 6 (short lines) to 15 (long ones) fill a batch: one on the wire, the next one, packed meanwhile,
# and what is read for a third.
_MOST_UNDER_WAY = 32
# For all logs together, beyond the first of each: 8 MiB. Many logs fill batches without being ahead.
_MOST_AHEAD = 128


class Ahead:
    """How many portions may be under way beyond the first of each log."""

    def __init__(self, left: int = _MOST_AHEAD) -> None:
        self.left = left


class KafkaUploadFactory:
    """Makes uploads to Kafka topics; see `UploadFactory`. `patience_seconds` as in `Kafka.send`."""

    def __init__(self, kafka: Kafka, patience_seconds: float) -> None:
        self._kafka = kafka
        self._patience_seconds = patience_seconds
        self._ahead = Ahead()

    def upload(
        self, target: SinkTarget, log: LogReader, ledger: SinkLedger, host_recovery: HostRecovery
    ) -> "KafkaUpload":
        """For one log; nothing is opened yet."""
        return KafkaUpload(self, target, log, ledger, host_recovery)

    def flow(self, address: KafkaAddress, messages: Messages, patience_seconds: Callable[[], float]) -> "_Flow":
        """For one try."""
        return _Flow(
            self._kafka.stream(address, messages.key),
            messages,
            self._ahead,
            lambda: min(patience_seconds(), self._patience_seconds),
        )


class KafkaUpload:
    """See `shuttle.sinks.forward.LogUpload`. Kafka refuses nothing for good: topics and rights may come."""

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
        self._ledger = ledger
        self._host_recovery = host_recovery
        self._is_live = False

    async def attempt(self, patience_seconds: Callable[[], float]) -> bool:
        """Send lines as they come until the log's end, then the end; whether all of it is acknowledged."""
        self._is_live = False
        flow = self._factory.flow(self._address, self._messages, patience_seconds)
        try:
            if self.offset:
                # Where an http member of a failover was acknowledged is not always the beginning of a line.
                self.offset = await line_start(self._log, self.offset)
            await self._send_lines(flow)
            await flow.finish(self.offset)
            self._host_recovery.succeeded(self._host)
        except RecordTooLargeError:
            if self._messages.cut_more(flow.oldest):
                # One step of a few: nothing that the next try had to wait longer for.
                return await self._failed("The topic takes only smaller messages: lines are cut.", failures=0)
            return await self._failed("The topic takes no message of this build, however short the line.")
        except ShuttleError as error:
            return await self._failed(error.message)
        finally:
            flow.close()
        await self._ledger.done(self._target.sink_id, self.offset)
        return True

    async def _send_lines(self, flow: "_Flow") -> None:
        """As many portions at once as there are and may be; a line that grows holds up no acknowledgement."""
        log, offset = self._log, self.offset
        while flow.under_way or not log.complete or offset < log.size_bytes:
            seen_bytes = max(log.size_bytes, offset)
            lines = await lines_from(log, offset) if flow.has_room else None
            if lines is not None:
                await flow.put(lines)
                offset = lines.end_offset
            elif flow.under_way:
                await self._acknowledged(await flow.landed())
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


class _Flow:
    """The portions of one log that are under way, in their order."""

    def __init__(self, stream: Stream, messages: Messages, ahead: Ahead, patience_seconds: Callable[[], float]) -> None:
        self.under_way: deque[Lines] = deque()
        self._stream = stream
        self._messages = messages
        self._ahead = ahead
        self._patience_seconds = patience_seconds
        self._has_landed = False

    @property
    def has_room(self) -> bool:
        """One more may be put. The first always may; more only where one has landed: a dead cluster holds up nobody."""
        may_go_ahead = self._has_landed and len(self.under_way) < _MOST_UNDER_WAY and self._ahead.left > 0
        return not self.under_way or may_go_ahead

    @property
    def oldest(self) -> Lines:
        """The portion that an error of `landed` is about."""
        return self.under_way[0]

    async def put(self, lines: Lines) -> None:
        """Send them behind the others."""
        self._ahead.left -= bool(self.under_way)
        self.under_way.append(lines)
        await self._stream.put(self._messages.of(lines), self._patience_seconds())

    async def landed(self) -> Lines:
        """Return the oldest once it is acknowledged."""
        await self._stream.acknowledged(self._patience_seconds())
        self._has_landed = True
        lines = self.under_way.popleft()
        self._ahead.left += bool(self.under_way)
        return lines

    async def finish(self, log_bytes: int) -> None:
        """Send the last message, when nothing else is under way, and return once it is acknowledged."""
        self.under_way.append(Lines(log_bytes, b""))
        await self._stream.put(self._messages.finished(log_bytes), self._patience_seconds())
        await self.landed()

    def close(self) -> None:
        """Let go of what is still under way."""
        self._stream.close()
        self._ahead.left += max(len(self.under_way) - 1, 0)
        self.under_way.clear()
