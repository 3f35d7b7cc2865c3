"""Masking of secrets in the forms that tools print: escaped, quoted, wrapped."""

import base64
import html
import json
import re
import shlex
import textwrap
from collections.abc import Callable
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shuttle.logs.mask import MASK, Masker
from tests.support.cpu_time import growth

SECRET = 'it\'s "1/2" \\ <b>&é+=`$x!🔑 end'
EASY = "hunter2/with+slash="


def masked(text: str, *secrets: str) -> str:
    shown, at, raw = b"", 0, text.encode()
    for start, stop in Masker(secrets or (SECRET,)).spans(raw):
        shown, at = shown + raw[at:start] + MASK, stop
    return (shown + raw[at:]).decode()


def upper_escapes(text: str) -> str:
    return re.sub(r"\\u[0-9a-f]{4}", lambda escape: "\\u" + escape[0][2:].upper(), text)


def escaped(characters: str, text: str) -> str:
    """Some characters as \\uXXXX, as JSON writers of Go, .NET, PHP and Java do."""
    return "".join(f"\\u{ord(each):04x}" if each in characters else each for each in text)


JSON = json.dumps(SECRET)[1:-1]
JSON_UNICODE = json.dumps(SECRET, ensure_ascii=False)[1:-1]


@pytest.mark.parametrize(
    "form",
    [
        JSON,
        upper_escapes(JSON),
        JSON_UNICODE,
        JSON.replace("/", "\\/"),
        JSON_UNICODE.replace("/", "\\/"),
        escaped("<>&", JSON_UNICODE),
        upper_escapes(escaped("<>&", JSON_UNICODE)),
        escaped("<>&='", JSON_UNICODE),
        upper_escapes(escaped("<>&'+`", JSON.replace('\\"', "\\u0022"))),
    ],
)
def test_secret_in_json_output_is_masked(form: str) -> None:
    assert masked(f'{{"key":"{form}"}}\n') == '{"key":"[secret]"}\n'


@pytest.mark.parametrize(
    "form",
    [
        SECRET.replace("'", "'\\''"),
        shlex.quote(SECRET)[1:-1],
        re.sub(r'([$`"\\])', r"\\\1", SECRET),
        'it\\\'s\\ \\"1/2\\"\\ \\\\\\ \\<b\\>\\&é+=\\`\\$x\\!🔑\\ end',
        'it\\\'s "1/2" \\\\ <b>&\\303\\251+=`$x!\\360\\237\\224\\221 end',
        'it\\\'s "1/2" \\\\ <b>&é+=`$x!🔑 end',
    ],
)
def test_secret_in_shell_quotes_is_masked(form: str) -> None:
    assert masked(f"+ curl -u '{form}' host\n") == "+ curl -u '[secret]' host\n"


@pytest.mark.parametrize(
    "form",
    [
        html.escape(SECRET),
        html.escape(SECRET, quote=False),
        html.escape(SECRET).replace("&#x27;", "&#39;"),
        html.escape(SECRET).replace("&#x27;", "&#039;"),
        html.escape(SECRET).replace("&#x27;", "&apos;"),
        html.escape(SECRET).replace("&quot;", "&#34;").replace("&#x27;", "&#39;"),
        html.escape(SECRET).encode("ascii", "xmlcharrefreplace").decode(),
        html.escape(SECRET).replace("é", "&#xE9;").replace("🔑", "&#x1F511;"),
        quoteattr(SECRET)[1:-1],
        SECRET.replace("&", "&amp;").replace('"', "&quot;"),
        SECRET.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;"),
    ],
)
def test_secret_in_markup_is_masked(form: str) -> None:
    assert masked(f"<a b='{form}'/>\n") == "<a b='[secret]'/>\n"


@pytest.mark.parametrize("quote_mark", ["'", '"'])
def test_secret_with_doubled_quotes_is_masked(quote_mark: str) -> None:
    form = SECRET.replace(quote_mark, quote_mark * 2)
    assert masked(f"password: {quote_mark}{form}{quote_mark}\n") == f"password: {quote_mark}[secret]{quote_mark}\n"


@pytest.mark.parametrize(
    "form",
    [
        repr(SECRET)[1:-1],
        ascii(SECRET)[1:-1],
        repr(SECRET.encode())[2:-1],
        repr(SECRET + "'")[1:-3],
        repr({"key": SECRET})[9:-2],
        SECRET.replace("\\", "\\\\").replace("'", "\\'"),
    ],
)
def test_secret_in_python_repr_is_masked(form: str) -> None:
    assert masked(f"KeyError: '{form}'\n") == "KeyError: '[secret]'\n"


@pytest.mark.parametrize(
    "form",
    [
        "$'first\\tline\\nof'",
        '"first\\tline\\nof"',
        "'first\tline\\nof'",
        '"first&#9;line&#10;of"',
        '"first&#x9;line&#xA;of"',
        "first%09line%0Aof",
    ],
)
def test_secret_with_a_tab_and_a_line_end_is_masked_where_both_are_escaped(form: str) -> None:
    assert "[secret]" in masked(form, "first\tline\nof")
    assert "line" not in masked(form, "first\tline\nof")


@pytest.mark.parametrize("form", ["hunter2%2fwith%2Bslash%3d", "hunter2/with%2bslash%3D", "hunter2%2Fwith%2bslash%3D"])
def test_percent_encoding_in_mixed_case_is_masked(form: str) -> None:
    assert masked(f"GET /?key={form}&x=1\n", EASY) == "GET /?key=[secret]&x=1\n"


def json_text(text: str, *, ascii_only: bool = True) -> str:
    return json.dumps(text, ensure_ascii=ascii_only)[1:-1]


@pytest.mark.parametrize(
    "form",
    [
        json_text(JSON),
        json_text(JSON_UNICODE),
        json_text(JSON_UNICODE, ascii_only=False),
        upper_escapes(json_text(JSON)),
        json_text(JSON.replace("/", "\\/")).replace("/", "\\/"),
        escaped("<>&", json_text(escaped("<>&", JSON_UNICODE), ascii_only=False)),
        repr(JSON)[1:-1],
        repr(f'{{"key": "{JSON}"}}')[10:-3],
        repr(f'{{"key": "{JSON_UNICODE}"}}')[10:-3],
        json_text(ascii(SECRET)[1:-1]),
        json_text(repr(SECRET)[1:-1]),
        json_text(repr(SECRET.encode())[2:-1]),
        json_text(SECRET.replace("'", "'\\''")),
        json_text(html.escape(SECRET)),
        html.escape(html.escape(SECRET)),
        html.escape(JSON),
        html.escape(JSON).replace("&#x27;", "&#39;"),
        quote(quote(SECRET, safe=""), safe=""),
        quote(quote(SECRET)),
        quote(quote_plus(SECRET), safe=""),
        quote(SECRET, safe="").replace("%", "%25").replace("%25C3", "%25c3"),
    ],
)
def test_secret_that_is_escaped_twice_is_masked(form: str) -> None:
    assert masked(f"before <{form}> after\n") == "before <[secret]> after\n"


@pytest.mark.parametrize("columns", [64, 76])
@pytest.mark.parametrize("alphabet", ["standard", "url"])
def test_wrapped_base64_behind_any_prefix_shows_no_six_bytes_of_the_secret(columns: int, alphabet: str) -> None:
    secret = "".join(chr(33 + index * 7 % 90) for index in range(90))
    encode = base64.b64encode if alphabet == "standard" else base64.urlsafe_b64encode
    for before in range(60):
        text = encode(b"u" * before + secret.encode() + b"after").decode()
        first, last = -(-before * 8 // 6), (before + len(secret)) * 8 // 6
        inside = set(range(first, last))
        lines = textwrap.wrap(text, columns)
        shown = masked("\n".join(lines), secret).split("\n")
        for number, (line, left) in enumerate(zip(lines, shown, strict=True)):
            covered = [at for at in range(len(line)) if number * columns + at in inside]
            assert len(covered) < 8 or line[covered[0] : covered[-1] + 1] not in left
            assert len(covered) < 8 or "[secret]" in left


def test_wrapped_base64_of_four_tokens_that_begin_alike_is_masked() -> None:
    tokens = [f"glpat-/{number * 7919 % 10007:05}+secret-{number}?>" for number in range(4)]
    for token in tokens:
        text = base64.b64encode(b"p" * 45 + token.encode()).decode()
        first, second = masked(f"{text[:76]}\n{text[76:]}\n", *tokens).split("\n")[:2]
        assert (first[-8:], second[:8]) == ("[secret]", "[secret]")


def test_each_string_of_a_json_document_is_masked() -> None:
    document = json.dumps({"type": "short", "private_key": "first-line-of-key\nsecond-line", "list": [["inner-token"]]})
    text = "inner-token first-line-of-key second-line short private_key\n"
    assert masked(text, document) == "[secret] [secret] [secret] short private_key\n"


def test_deeply_nested_brackets_are_not_parsed_as_json() -> None:
    assert masked("nothing", "[" * 100_000) == "nothing"


@pytest.mark.slow
@given(st.text(max_size=30), st.integers(0, 40))
def test_the_beginning_of_an_escaped_secret_is_held_at_the_end_of_an_unfinished_line(before: str, cut: int) -> None:
    form = html.escape(SECRET)[: cut + 1]
    line = (before.replace("\n", "") + form).encode()
    assert Masker((SECRET,)).pending_bytes(line) >= len(form.encode())


@pytest.mark.slow
def test_secrets_of_ten_kilobytes_are_prepared_in_linear_time() -> None:
    def prepare(count: int) -> Callable[[], object]:
        numbers = [number.to_bytes(2, "big") for number in range(count)]
        secrets = [f"{number.hex()}{base64.b64encode(number * 3700).decode()}" for number in numbers]
        return lambda: Masker(secrets).spans(b"a" * 50_000 + "\n".join(secrets).encode())

    assert growth(prepare, 6, 8) < 24


@pytest.mark.slow
def test_hundreds_of_short_secrets_are_prepared_in_linear_time() -> None:
    def prepare(count: int) -> Callable[[], object]:
        secrets = [f"{number:04}-{SECRET}" for number in range(count)]
        return lambda: Masker(secrets)

    assert growth(prepare, 30, 8) < 24
