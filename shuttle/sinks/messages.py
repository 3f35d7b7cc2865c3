"""A log as Kafka messages (docs/contract.md, "Logs to Kafka"): a JSON object for each line.

A message is made only when it is packed into a batch.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from json.encoder import encode_basestring

from shuttle.kafka import Record
from shuttle.sinks import SinkTarget
from shuttle.sinks.lines import Lines

FINISHED = "Build finished"
# If the broker refuses a message with a line as short as this, the line is not the cause.
_LEAST_LINE_BYTES = 64
_NO_NEWLINE = ("no_newline", b"true")

# The bytes that JSON escapes, without LF, which separates the lines. Backslash is first: other escapes begin with one.
_ESCAPES = {
    bytes([code]): encode_basestring(chr(code))[1:-1].encode() for code in (0x5C, 0x22, *range(0x20)) if code != 0x0A
}
_PLAIN = bytes(code for code in range(256) if bytes([code]) not in _ESCAPES)


def escaped(text: bytes) -> bytes:
    """Lines as the contents of JSON strings; the same object if there is nothing to escape.

    All lines are escaped at once: one by one this costs three times as much as the rest of a message.
    """
    if not text.isascii():
        text = _valid_utf8(text)
    special = text.translate(None, _PLAIN)
    if special:
        for byte, escape in _ESCAPES.items():
            if byte in special:
                text = text.replace(byte, escape)
    return text


def _valid_utf8(text: bytes) -> bytes:
    try:
        text.decode()
    except UnicodeDecodeError:
        return text.decode("utf-8", "replace").encode()
    return text


class Messages:
    """The messages of one build's log; lines are cut to `max_line_bytes`, learned from refusals (None = no limit)."""

    def __init__(self, target: SinkTarget) -> None:
        self.key = f"{target.app_id}/{target.build_id}".encode()
        self.build_uuid = ("build_uuid", target.build_uuid.encode())
        job = json.dumps(target.build_id, ensure_ascii=False)
        build = target.build_json or job
        head = f'{{"metadata":{target.metadata_json or "null"},"build":{build},"job":{job},"message":"'
        self.head = head.encode("utf-8", "surrogatepass")
        self.max_line_bytes: int | None = None

    def of(self, lines: Lines) -> "LineMessages":
        """A message for each line."""
        return LineMessages(self, lines)

    def finished(self, log_bytes: int) -> list[Record]:
        """The last message: it is no line of the log, and its offset is the log's size."""
        return list(self.of(Lines(log_bytes, FINISHED.encode())))

    def cut_more(self, refused: Lines) -> bool:
        """Cut lines to half of the longest line in `refused`, which the broker did not accept.

        False = the lines are short already: the rest of the message is too large.
        """
        longest_bytes = min(refused.longest_bytes, self.max_line_bytes or refused.longest_bytes)
        if longest_bytes <= _LEAST_LINE_BYTES:
            return False
        self.max_line_bytes = max(longest_bytes // 2, _LEAST_LINE_BYTES)
        return True


@dataclass(frozen=True, slots=True)
class LineMessages:
    """Lines as messages, made at each iteration: the messages of a whole log would not fit into memory."""

    messages: Messages
    lines: Lines

    def __iter__(self) -> Iterator[Record]:
        offset, text = self.lines.offset, self.lines.text
        inside = escaped(text)
        lines = text.split(b"\n")
        pairs = zip(lines, lines if inside is text else inside.split(b"\n"), strict=True)
        if self.lines.no_newline or self.lines.dropped_bytes or self.messages.max_line_bytes is not None:
            yield from self._unusual(pairs)
            return
        # Nearly every line of every log takes this path: it is written for speed.
        head, build_uuid = self.messages.head, self.messages.build_uuid
        for line, within in pairs:
            yield head + within + b'"}', [("offset", b"%d" % offset), build_uuid]
            offset += len(line) + 1

    def _unusual(self, pairs: Iterable[tuple[bytes, bytes]]) -> Iterator[Record]:
        """Messages of lines that have no LF or may have to be cut."""
        offset, longest_bytes, dropped_bytes = self.lines.offset, self.messages.max_line_bytes, self.lines.dropped_bytes
        for line, within in pairs:
            headers = [("offset", b"%d" % offset), self.messages.build_uuid]
            offset += len(line) + 1
            if self.lines.no_newline:
                headers.append(_NO_NEWLINE)
            inside = within
            if dropped_bytes or (longest_bytes is not None and len(line) > longest_bytes):
                kept = line[:longest_bytes].decode("utf-8", "ignore").encode()
                headers.append(("cut", b"%d" % (len(line) - len(kept) + dropped_bytes)))
                inside = escaped(kept)
            yield self.messages.head + inside + b'"}', headers
