"""data: sources, which are decoded when a build is accepted."""

import base64
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shuttle.errors import InvalidRequestError
from shuttle.sources.data import read_data_url


def decode_data_url(url: str, max_source_bytes: int) -> tuple[bytes, str]:
    content_type, pieces = read_data_url(url, max_source_bytes)
    return b"".join(pieces), content_type


PLAIN = "text/plain;charset=US-ASCII"


@pytest.mark.parametrize(
    ("url", "content", "content_type"),
    [
        ("data:application/gzip;base64,aGk=", b"hi", "application/gzip"),
        ("data:application/x-tar;a=b;base64,aGk=", b"hi", "application/x-tar;a=b"),
        ("data:;base64,aGk=", b"hi", PLAIN),
        ("data:base64,aGk=", b"hi", PLAIN),
        ("DATA:;BASE64,aGk=", b"hi", PLAIN),
        ("data:;charset=utf-8,a%20b", b"a b", "text/plain;charset=utf-8"),
        ('data:a/b;c="x y",q', b"q", 'a/b;c="x y"'),
        (f"data:a/{'b' * 253};base64,aGk=", b"hi", f"a/{'b' * 253}"),
        ("data:,a=b,c;d", b"a=b,c;d", PLAIN),
        ("data:,%00%ff%3D=3D", b"\x00\xff==3D", PLAIN),
        # base64 without padding, escaped, in lines
        ("data:;base64,aGk", b"hi", PLAIN),
        ("data:;base64,aGk%3D", b"hi", PLAIN),
        ("data:;base64,%2B%2F8%3D", b"\xfb\xff", PLAIN),
        ("data:;base64,aG\r\nk=\n", b"hi", PLAIN),
    ],
)
def test_data_urls_are_decoded(url, content, content_type):
    assert decode_data_url(url, 100) == (content, content_type)


@pytest.mark.parametrize(
    "url",
    [
        *("data:base64", "data:", "http://h/a,b", "data:;base64;,aGk=", "data:text,hi", "data:a/b c,hi", "data:/b,hi"),
        *("data:;base64,a", "data:;base64,aGk*", "data:;base64,aG k", "data:;base64,aGk==", "data:;base64,a=Gk"),
        *("data:;base64,aGk-", "data:;base64,aGk=x", "data:;base64,äa", "data:;base64,%zz", "data:;base64,aGk=\0"),
        *("data:,a b", "data:,a#b", "data:,%z", "data:,%", "data:,ä", "data:,\ud800", "data:,a\nb", "data:ä/b,x"),
        *("data:,", "data:;base64,", "data:;base64\n,aGk=", f"data:a/{'b' * 254},x"),
    ],
)
def test_invalid_data_urls_are_refused_with_the_field(url):
    with pytest.raises(InvalidRequestError) as caught:
        decode_data_url(url, 100)
    assert caught.value.field == "source.url"


@pytest.mark.parametrize("url", ["data:,12345678901", "data:;base64,MTIzNDU2Nzg5MDE=", "data:;base64," + "A" * 400])
def test_more_than_the_limit_is_refused(url):
    with pytest.raises(InvalidRequestError, match="10 bytes"):
        decode_data_url(url, 10)


def test_source_as_large_as_the_limit_is_accepted():
    assert decode_data_url("data:;base64,MTIzNDU2Nzg5MA==", 10)[0] == b"1234567890"


@given(content=st.binary(min_size=1, max_size=200))
def test_any_bytes_are_decoded_in_every_form(content):
    encoded = base64.b64encode(content).decode()
    for url in (
        f"data:;base64,{encoded}",
        f"data:base64,{encoded.rstrip('=')}",
        f"data:;base64,{quote_from_bytes(encoded.encode(), safe='')}",
        f"data:;base64,{base64.encodebytes(content).decode()}",
        f"data:,{quote_from_bytes(content)}",
        f"data:,{''.join(f'%{byte:02x}' for byte in content)}",
    ):
        assert decode_data_url(url, 200)[0] == content


@given(content=st.binary(min_size=1, max_size=60), piece=st.integers(1, 20), data=st.data())
def test_size_of_the_pieces_does_not_change_the_result(content, piece, data):
    """A piece may end within a group of four characters, a line break or the padding."""
    encoded = list(base64.b64encode(content).decode())
    for index in data.draw(st.lists(st.integers(0, len(encoded)), max_size=8)):
        encoded.insert(index, data.draw(st.sampled_from(["\n", "\r\n"])))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shuttle.sources.data._PIECE_BYTES", piece)
        assert decode_data_url(f"data:;base64,{''.join(encoded)}", 60)[0] == content


@given(text=st.text("AQ=\n*"), piece=st.integers(1, 20))
@example(text="QQ==QQ==", piece=4)
def test_invalid_base64_is_refused_whatever_the_size_of_the_pieces(text, piece):
    def outcome() -> bytes | str:
        try:
            return decode_data_url(f"data:;base64,{text}", 60)[0]
        except InvalidRequestError as error:
            return error.message

    whole = outcome()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shuttle.sources.data._PIECE_BYTES", piece)
        assert outcome() == whole


@given(text=st.text())
def test_any_text_is_decoded_or_refused(text):
    for url in (text, f"data:{text}", f"data:;base64,{text}", f"data:,{text}"):
        try:
            content, content_type = decode_data_url(url, 50)
        except InvalidRequestError:
            continue
        assert 0 < len(content) <= 50
        assert content_type.isascii()
        assert content_type.isprintable()
