"""A consumer puts a log together from its messages: duplicates are dropped, and the end is recognized."""

import hashlib
import json
from types import SimpleNamespace

from shuttle.cli.demo.broker import ConsumedLog


def message(offset: int, text: str, *, no_newline: bool = False):
    headers = [("offset", b"%d" % offset), *([("no_newline", b"true")] if no_newline else [])]
    return SimpleNamespace(value=json.dumps({"message": text}).encode(), headers=headers)


def test_duplicates_add_nothing():
    log = ConsumedLog()
    records = [message(0, "a"), message(2, "ż"), message(0, "a"), message(2, "ż"), message(5, "b", no_newline=True)]
    assert b"".join(log.take(record) for record in records) == "a\nż\nb".encode()
    assert not log.has_end
    log.take(message(6, "Build finished"))
    assert (log.has_end, log.bytes, log.sha256) == (True, 6, hashlib.sha256("a\nż\nb".encode()).hexdigest())


def test_line_with_the_text_of_the_final_message_is_a_line():
    log = ConsumedLog()
    assert log.take(message(0, "Build finished")) == b""
    assert log.take(message(0, "Build finished")) == b"", "a duplicate"
    assert log.take(message(15, "more")) == b"Build finished\nmore\n"
    assert not log.has_end
    assert log.take(message(20, "Build finished")) == b""
    assert (log.has_end, log.bytes) == (True, 20)
