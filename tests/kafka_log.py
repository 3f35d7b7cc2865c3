"""A log as its Kafka messages tell it."""

import json
from collections.abc import Sequence

from aiokafka import ConsumerRecord

from tests.kafka_cluster import header


def joined(messages: Sequence[ConsumerRecord]) -> tuple[bytes, int]:
    """The log of one build's messages, doubles dropped by offset, and its size as the end tells."""
    log = b""
    for message in messages:
        value, offset = json.loads(message.value), int(header(message, "offset"))
        line = value["message"].encode()
        if value["message"] == "Build finished" and not header(message, "no_newline") and offset == len(log):
            return log, offset
        assert offset <= len(log), "bytes are missing"
        line += b"" if header(message, "no_newline") else b"\n"
        if offset < len(log):
            assert log[offset : offset + len(line)] == line, "a double differs"
        else:
            log += line
    raise AssertionError("the log has no end")


def is_finished(messages: Sequence[ConsumerRecord]) -> bool:
    """The end is among them."""
    return any(json.loads(message.value)["message"] == "Build finished" for message in messages)
