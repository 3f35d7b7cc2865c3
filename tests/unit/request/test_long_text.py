"""Bodies whose long text is cut out before parsing give the same value or error as when parsed whole."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shuttle.errors import BodyTooLargeError, InvalidJsonError
from shuttle.request import MAX_JSON_BYTES, decode_json, decode_large_json

LONG = "data:;base64," + "QU/D" * (MAX_JSON_BYTES // 4)

# Parts of generated bodies: strings that are long by the limit below, and everything that can surround them.
FRAGMENTS = [
    *('{"source":{"url":', '{"sources":', '"metadata":', '"source":{"url":', "}", "}", "{", "[", "]", ",", ":", " "),
    *('"data:;base64,QUJDREVG"', '"data:;base64,QUJDREVG",', '"data:QUJD\\/REVGREVG"', '"data:QUJD\\"REVGREVG"'),
    *('"\\"data:QUJDREVGREVG"', '"data:żółw żółw"', '"data:QUJD\nREVGREVG"', '"data:x"', '"data:QUJDREVGREVG', '"a"'),
    *('"\\\\"data:QUJDREVGREVG"', "1", "null", "\\", '"', "\x00", "\ufeff"),
]


def outcome(decode: Any, raw: bytes) -> Any:
    try:
        return decode(raw)
    except InvalidJsonError as error:
        return error.message


@given(fragments=st.lists(st.sampled_from(FRAGMENTS), max_size=12), limit_bytes=st.integers(0, 60))
def test_any_body_gives_the_result_of_parsing_it_whole_or_is_too_large(fragments: list[str], limit_bytes: int):
    raw = "".join(fragments).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shuttle.request.long_text.LARGE_BODY_BYTES", 8)
        patch.setattr("shuttle.request.long_text.MAX_JSON_BYTES", limit_bytes)
        try:
            found = outcome(decode_large_json, raw)
        except BodyTooLargeError:
            assert len(raw) > limit_bytes
            return
    assert not raw.isascii() or found == outcome(decode_json, raw)


@given(
    parts=st.lists(st.sampled_from(["A", "QUJD", "\\/", "\\\\", "\\u002f", "\\ud83d", "\\u00zz", "\\x"]), min_size=8),
    piece_characters=st.integers(6, 12),
)
def test_escapes_are_decoded_wherever_they_are_in_a_long_text(parts: list[str], piece_characters: int):
    raw = f'{{"source":{{"url":"data:{"".join(parts)}"}}}}'.encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shuttle.request.long_text.LARGE_BODY_BYTES", 8)
        patch.setattr("shuttle.request.long_text.MAX_JSON_BYTES", 24)
        patch.setattr("shuttle.request.long_text._PIECE_CHARACTERS", piece_characters)
        found = outcome(decode_large_json, raw)
    expected = outcome(decode_json, raw)
    assert found == expected or not expected["source"]["url"].isascii()


@pytest.mark.parametrize(
    "value",
    [
        {"source": {"url": LONG, "checksum": None}, "pipeline": "script"},
        {"sources": LONG, "build_uuid": "u"},
        {"metadata": "data:,short", "source": {"url": LONG}},
        {"source": {"url": LONG.replace("data", "DATA")}},
        {"source": {"url": LONG.replace(";base64", ';a="b";base64')}},
        {"metadata": "x" * (MAX_JSON_BYTES - 1024), "source": {"url": LONG}},
    ],
    ids=["new", "older", "behind a short one", "upper case", "with quotes", "beside long JSON"],
)
def test_long_source_is_put_back_into_its_field(value: Any):
    raw = json.dumps(value).encode()
    assert decode_large_json(raw) == value
    assert decode_large_json(raw.replace(b"/", b"\\/")) == value


@pytest.mark.parametrize(
    "value",
    [
        {"metadata": LONG, "source": {"url": "http://h/a"}},
        {"source": {"url": f'a part of "{LONG}'}},
        {"source": {"url": "http://h/a"}, "unknown": "x" * MAX_JSON_BYTES},
        {"metadata": "x" * MAX_JSON_BYTES, "source": {"url": LONG}},
        [LONG],
        LONG,
    ],
    ids=["elsewhere", "within another", "no data: URL", "beside more JSON", "array", "text"],
)
def test_long_json_is_refused_unless_only_the_source_is_long(value: Any):
    with pytest.raises(BodyTooLargeError, match=str(MAX_JSON_BYTES)):
        decode_large_json(json.dumps(value).encode())


@pytest.mark.parametrize("more", [0, 1])
def test_json_besides_the_source_has_a_limit(more: int):
    beside_bytes = len('{"source": {"url": ""}}')
    body = b'{"source": {"url": "%s"}}' % LONG.encode() + b" " * (MAX_JSON_BYTES - beside_bytes + more)
    if more:
        with pytest.raises(BodyTooLargeError):
            decode_large_json(body)
    else:
        assert decode_large_json(body)["source"]["url"] == LONG


def test_long_text_that_is_invalid_json_is_refused_with_its_position():
    raw = json.dumps({"source": {"url": LONG}}).encode()
    middle = len(raw) // 2
    with pytest.raises(InvalidJsonError, match=f"at line 1 column {middle + 1}"):
        decode_large_json(raw[:middle] + b"\n" + raw[middle:])


def test_error_after_the_long_text_has_its_position_in_the_whole_body():
    raw = json.dumps({"source": {"url": LONG}}).encode()[:-1] + b",}"
    with pytest.raises(InvalidJsonError) as caught:
        decode_large_json(raw)
    assert f"a trailing comma at line 1 column {len(raw)}." in caught.value.message
