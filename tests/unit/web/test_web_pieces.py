"""Pure functions of the web package: header values, tokens in headers, ranges, raw path segments."""

import base64
from itertools import pairwise
from urllib.parse import quote

import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from shuttle.errors import InvalidRequestError, RangeNotSatisfiableError
from shuttle.web.agent_artifacts import artifact_name
from shuttle.web.answers import header_list
from shuttle.web.auth import is_token, token_in
from shuttle.web.logs import _range
from shuttle.web.names import raw_segments


@given(st.lists(st.text(max_size=2000), max_size=20))
def test_header_list_is_printable_ascii_of_at_most_4_kib(texts: list[str]):
    value = header_list(tuple(texts))
    assert len(value) <= 4096
    assert value.isascii()
    assert value.isprintable()
    if value and not value.endswith("..."):
        assert len(value.split(", ")) == len(texts)


def test_header_list_that_fits_exactly_is_not_cut():
    texts = tuple("x" * 1022 for _ in range(4))  # with three separators 4,094 bytes
    for names, whole in ((texts, True), ((*texts[:3], "x" * 1024), True), ((*texts[:3], "x" * 1026), False)):
        value = header_list(names)
        assert (value == ", ".join(names)) is whole
        assert len(value) <= 4096


def test_longer_header_lists_keep_their_first_texts():
    values = [header_list(tuple(f"name-{number}" for number in range(count))) for count in (400, 500, 5000)]
    for shorter, longer in pairwise(values):
        assert longer.startswith(shorter.removesuffix(", ...")[:4000])
    assert values[-1].endswith(", ...")


def basic(pair: str) -> str:
    return "Basic " + base64.b64encode(pair.encode()).decode()


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        (basic("user:abc"), "abc"),
        (basic("user:a:b"), "a:b"),
        (basic("abc:"), "abc"),
        (basic("abc"), "abc"),
        (basic("user:é"), "é"),
        ("Basic ???", ""),
        ("Basic", ""),
        ("Digest abc", ""),
        ("abc", ""),
        ("", ""),
    ],
)
def test_token_in_authorization_header(header: str, token: str):
    assert token_in(header) == token
    assert is_token(header, "abc") is (token == "abc")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("bytes=0-", (0, 10)),
        ("bytes=0-0", (0, 1)),
        ("bytes=9-9", (9, 10)),
        ("bytes=3-99", (3, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-99", (0, 10)),
        ("bytes=5-4", None),
        ("bytes=-", None),
        ("bytes=1-2,3-4", None),
        ("bytes=\u0663-", None),
        ("bytes=2-" + "9" * 19, (2, 10)),
        ("rows=1-2", None),
    ],
)
def test_range_of_a_log_with_ten_bytes(text: str, found: tuple[int, int] | None):
    assert _range(text, 10) == found


@pytest.mark.parametrize(("text", "size"), [("bytes=10-", 10), ("bytes=10-11", 10), ("bytes=-0", 10), ("bytes=-1", 0)])
def test_range_without_bytes_is_refused_with_content_range(text: str, size: int):
    with pytest.raises(RangeNotSatisfiableError) as caught:
        _range(text, size)
    assert caught.value.headers["Content-Range"] == f"bytes */{size}"


@pytest.mark.parametrize(
    ("path", "segments"),
    [
        ("/a%2Fb/c?x=/y", ["a%2Fb", "c"]),
        ("/a/%252F", ["a", "%252F"]),
        ("/a/..", ["a", ".."]),
        ("http://host/a/b", ["a", "b"]),
        ("http://host:1/a%20/b?q", ["a%20", "b"]),
        ("/", []),
        ("//a//b/", ["a", "b"]),
        ("/-/builds/u/artifacts/a//b", ["-", "builds", "u", "artifacts", "a", "", "b"]),
    ],
)
def test_raw_path_segments_are_as_sent_without_empty_ones(path: str, segments: list[str]):
    assert raw_segments(make_mocked_request("GET", path)) == segments


@given(st.text(min_size=1, max_size=100))
def test_artifact_name_never_leaves_its_folder(name: str):
    try:
        decoded = artifact_name([quote(name.encode("utf-8", "surrogatepass"), safe="")])
    except InvalidRequestError:
        return
    assert decoded == name
    assert not {"", ".", ".."} & set(decoded.split("/"))
