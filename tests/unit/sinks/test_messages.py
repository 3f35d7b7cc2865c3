"""Lines as JSON messages: a consumer reads the same line, whatever bytes it has."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shuttle.sinks import SinkTarget
from shuttle.sinks.lines import Lines
from shuttle.sinks.messages import Messages, escaped

NASTY = st.sampled_from([b'"', b"\\", b"\\n", b"\t", b"\x1b[0m", b"\r", b"\x00", b"\x7f", "żółw".encode(), b"\xe2\x82"])
TEXT = st.lists(NASTY | st.binary(max_size=4) | st.just(b"\n"), max_size=60).map(b"".join)


def messages() -> Messages:
    return Messages(
        SinkTarget(sink_id=1, build_uuid="u-1", app_id="a", build_id='b"1', metadata_json='{"a":[1]}', url="")
    )


@given(TEXT)
def test_each_message_has_its_line_and_offset(text: bytes) -> None:
    records = list(messages().of(Lines(7, text)))
    lines = text.split(b"\n")
    read: list[Any] = [json.loads(value) for value, _ in records]
    assert [value["message"] for value in read] == [line.decode("utf-8", "replace") for line in lines]
    assert {json.dumps(value | {"message": ""}) for value in read} == {
        '{"metadata": {"a": [1]}, "build": "b\\"1", "job": "b\\"1", "message": ""}'
    }
    starts = [7 + len(b"\n".join([*lines[:place], b""])) for place in range(len(lines))]
    assert [headers for _, headers in records] == [
        [("offset", b"%d" % start), ("build_uuid", b"u-1")] for start in starts
    ]


def test_messages_can_be_iterated_repeatedly() -> None:
    made = messages().of(Lines(0, b'one\n"two"'))
    assert list(made) == list(made)


def test_cut_line_reports_the_missing_bytes_and_ends_with_a_whole_character() -> None:
    limited = messages()
    limited.cut_more(Lines(0, "ż".encode() * 101))
    short, long = limited.of(Lines(0, b"x" * 101 + b"\n" + "ż".encode() * 100))
    assert dict(short[1]).keys() == {"offset", "build_uuid"}
    assert json.loads(long[0])["message"] == "ż" * 50
    assert dict(long[1])["cut"] == b"100"


def test_text_without_escapes_is_not_copied() -> None:
    text = "żółw and more\nlines".encode()
    assert escaped(text) is text
