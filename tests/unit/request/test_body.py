"""Decoding of JSON bodies: errors with their position, numbers, and canonical JSON."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shuttle.errors import InvalidJsonError
from shuttle.request import canonical_json, compact_json, decode_json
from tests.unit.request.catalogue import FIXED


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "empty"),
        (b" \n\t", "empty"),
        (b"\xef\xbb\xbf", "ends too early"),
        (b'{"a":1,}', "a trailing comma at line 1 column 8"),
        (b'{"a":[1,\n 2 , ]}', "a trailing comma at line 2 column 6"),
        (b'{"a":1', "ends too early at line 1 column 7"),
        (b'{"a" 1}', "line 1 column 6"),
        (b"{'a':1}", "line 1 column 2"),
        (b'{"a":1} x', "line 1 column 9"),
        (b'{"a":\n\n"\x01"}', "line 3 column 2"),
        (b"nope", "line 1 column 1"),
        (b"NaN", "NaN"),
        (b"[-Infinity]", "-Infinity"),
        (b'{"a":1e400}', "1e400"),
        (b'{"a":-1e400}', "-1e400"),
        (b'{"a":"\n', "line 1 column"),
        (b'{"a":\n"\xff"}', "not UTF-8 at line 2 column 2"),
        ('"\ud800"'.encode("utf-8", "surrogatepass"), "not UTF-8 at line 1 column 2"),
        ('{"a":1}'.encode("utf-16"), "not UTF-8 at line 1 column 1"),
        (b"[" * 201 + b"]" * 201, "deeper than 200"),
        (b'{"a":' * 100_000, "deeper than 200"),
        (b"[" * 100_000, "deeper than 200"),
        (b"1" * 310, "beyond the range"),
        (b'{"a":1e400,}', "1e400"),
        (b"[" + b"[]," * 125_000 + b"1]", "more than 250000 values"),
    ],
)
def test_error_says_what_is_wrong_and_at_which_position(raw, said):
    with pytest.raises(InvalidJsonError) as caught:
        decode_json(raw)
    assert said in caught.value.message
    assert caught.value.status == 400
    assert caught.value.code == "invalid_json"


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (b'{"metadata":1e999}', "metadata"),
        (b'{"metadata":{"a":[1,{"metadata":-1E999}]}}', "metadata"),
        (b'{"metadata":' + b"9" * 310 + b"}", "metadata"),
        (b'{"metadata":' + b"9" * 309 + b"}", "metadata"),
        (b'{"metadata":-' + b"9" * 309 + b"}", "metadata"),
        # The smallest number whose nearest double would be 2**1024.
        (b'{"metadata":%d}' % (2**1024 - 2**970), "metadata"),
        (b'{"metadata":%d.5}' % (2**1024 - 2**970), "metadata"),
        (b'{"arguments":{"A":%d}}' % 10**309, "arguments.A"),
        (b'{"arguments":{"A":1,"B":1e309}}', "arguments.B"),
        (b'{"webhooks":{"status":["http://h/",1.8e308]}}', "webhooks.status[1]"),
        (b'{"build_number":1e999}', "build_number"),
        (b"1e999", None),
    ],
)
def test_error_for_too_large_number_names_its_field(raw, field):
    with pytest.raises(InvalidJsonError, match="beyond the range of a double") as caught:
        decode_json(raw)
    assert caught.value.field == field
    assert field is None or field in caught.value.message


@pytest.mark.parametrize(
    "written",
    [
        *(
            "0",
            "-0",
            "-0.0",
            "1.50",
            "1e-400",
            "-1E-999",
            "1E+2",
            "1e0",
            "0.1000000000000000055511151231257827",
            "1e308",
        ),
        *(
            "1.7976931348623157e308",
            str(2**1024 - 2**970 - 1),
            str(-(2**1024) + 2**970 + 1),
            "12345678901234567890.123",
            "100000000000000000000000",
            '[1.0,2,{"a":3e1}]',
        ),
    ],
)
def test_number_is_returned_as_it_was_written(written):
    assert compact_json(decode_json(written.encode())) == written


def test_nesting_and_digits_up_to_the_limits_are_accepted():
    assert decode_json(b"[" * 200 + b"]" * 200)
    assert len(decode_json(b"[" + b"1," * 249_999 + b"1]")) == 250_000
    assert decode_json(b"1" * 309) == int("1" * 309)  # below the largest double
    assert decode_json(b'\xef\xbb\xbf{"a":1}') == {"a": 1}
    assert decode_json(b'"\\ud800"') == "\ud800"
    assert decode_json(b"1e308") == 1e308
    assert decode_json(b"1e-400") == 0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b'{"a":1,"b":2}', b' { "b" : 2 , "a" : 1 } '),
        (b"1", b"1.0"),
        (b"100", b"1e2"),
        (b"10000000000000000000000", b"1e22"),
        (b"100000000000000000000000", b"1e23"),
        (b"0", b"-0.0"),
        (b"0.5", b"5e-1"),
        (b'"\\u00e4"', '"ä"'.encode()),
        (b'"\\ud83d\\ude00"', '"😀"'.encode()),
        (b'"\\/"', b'"/"'),
    ],
)
def test_equal_values_have_the_same_canonical_json(one, other):
    assert canonical_json(decode_json(one)) == canonical_json(decode_json(other))


def test_large_numbers_do_not_make_the_canonical_json_much_longer_than_the_body():
    assert len(canonical_json(decode_json(b"[" + b"1e300," * 3_000 + b"1]"))) > 900_000
    with pytest.raises(InvalidJsonError, match="too many digits"):
        canonical_json(decode_json(b"[" + b"1e300," * 3_400 + b"1]"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"1", b"true"),
        (b"0", b"false"),
        (b'{"a":null}', b"{}"),
        (b"[1,2]", b"[2,1]"),
        (b'"1"', b"1"),
        (b'"\\ud800"', b'"\\ud801"'),
        (b'"\\ud800"', b'"?"'),
        (b"1.5", b"1.25"),
        (b"9007199254740993", b"9007199254740992"),
        ('"é"'.encode(), '"e\u0301"'.encode()),
    ],
)
def test_different_values_have_different_canonical_json(one, other):
    assert canonical_json(decode_json(one)) != canonical_json(decode_json(other))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@FIXED
@given(_JSON)
def test_any_value_is_decoded_equal_from_any_spelling(value):
    spellings = [json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)]
    decoded = [decode_json(text.encode("utf-8")) for text in spellings]
    assert decoded == [value, value]
    assert canonical_json(decode_json(canonical_json(value))) == canonical_json(value)
    assert canonical_json(decoded[0]) == canonical_json(decoded[1])


@FIXED
@given(st.binary(max_size=40))
def test_any_bytes_give_a_value_or_an_invalid_json_error(raw):
    with suppress(InvalidJsonError):
        canonical_json(decode_json(raw))
