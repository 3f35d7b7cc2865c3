"""Ids: which path segments name an app or a build."""

import pytest

from shuttle.errors import InvalidRequestError
from shuttle.request import decode_id


@pytest.mark.parametrize(
    ("segment", "decoded"),
    [
        ("a", "a"),
        ("My-App_1.2", "My-App_1.2"),
        ("a%20b", "a b"),
        ("a+b", "a+b"),
        ("%C3%A4", "ä"),
        ("ä", "ä"),
        ("a%2541", "a%41"),
        ("...", "..."),
        ("--", "--"),
        ("_", "_"),
        ("a%3Fb%23", "a?b#"),
        ("%F0%9F%98%80" * 128, "😀" * 128),
        ("x" * 128, "x" * 128),
    ],
)
def test_is_decoded_once_and_taken_as_given(segment, decoded):
    assert decode_id("app_id", segment) == decoded


@pytest.mark.parametrize(
    "segment",
    [
        "",
        "x" * 129,
        "ä" * 129,
        ".",
        "..",
        "%2e%2E",
        "-",
        "%2D",
        "%20a",
        "a%20",
        "a%2Fb",
        "a/b",
        "a%5Cb",
        "a%00",
        "a%0A",
        "%7F",
        "a%C2%85b",
        "%FF",
        "%ED%A0%80",
        "a\udcff",
        "%",
        "%2",
        "%zz",
        "a%C2%A0",
    ],
)
def test_refuses_what_cannot_be_an_id(segment):
    with pytest.raises(InvalidRequestError) as caught:
        decode_id("build_id", segment)
    assert caught.value.field == "build_id"
    assert "build_id" in caught.value.message
