"""Ids of apps and builds in path segments."""

import pytest

from shuttle.errors import InvalidRequestError
from shuttle.request import decode_id, legacy_app


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
def test_id_is_percent_decoded_once_and_keeps_its_case(segment, decoded):
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
def test_invalid_id_is_refused(segment):
    with pytest.raises(InvalidRequestError) as caught:
        decode_id("build_id", segment)
    assert caught.value.field == "build_id"
    assert "build_id" in caught.value.message


_UUID = "0C3A6C52-6b0e-4a52-9d0b-1f1b1a6a2c11"


@pytest.mark.parametrize("app", ["shop", "a-b", "-", "a\nb", _UUID])
def test_app_id_of_the_older_api_splits_into_name_and_uuid(app):
    assert legacy_app(f"{app}-{_UUID}") == (app, _UUID)


@pytest.mark.parametrize(
    "app_id", ["", "shop", "-" + _UUID, _UUID, "shop_" + _UUID, f"shop-{_UUID}1", f"shop-{_UUID} "]
)
def test_other_app_ids_are_not_of_the_older_api(app_id):
    assert legacy_app(app_id) is None
