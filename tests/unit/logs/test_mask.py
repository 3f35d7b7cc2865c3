"""Masking hides secrets in all forms that programs print."""

import base64
import string
import textwrap
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shuttle.logs.mask import MASK, Masker
from shuttle.logs.secret_forms import base64_cores
from tests.support.cpu_time import cpu_seconds, growth
from tests.support.naive_search import naive_spans, patterns_of

SECRET = "p@ss w0rd/+~żé?"
RAW = SECRET.encode()


def masked(text: bytes, *secrets: str) -> bytes:
    shown, at = b"", 0
    for start, stop in Masker(secrets or (SECRET,)).spans(text):
        shown, at = shown + text[at:start] + MASK, stop
    return shown + text[at:]


def lower_hex(encoded: str) -> str:
    return "".join(part if index % 2 == 0 else part.lower() for index, part in enumerate(_split_escapes(encoded)))


def _split_escapes(encoded: str) -> list[str]:
    import re

    return re.split(r"(%[0-9A-F]{2})", encoded)


@pytest.mark.parametrize(
    "form",
    [
        RAW,
        quote(SECRET, safe="").encode(),
        quote(SECRET).encode(),
        quote_plus(SECRET).encode(),
        quote(SECRET, safe="!'()*~").encode(),
        lower_hex(quote(SECRET, safe="")).encode(),
        lower_hex(quote_plus(SECRET)).encode(),
        base64.b64encode(RAW),
        base64.urlsafe_b64encode(RAW),
        base64.b64encode(RAW).rstrip(b"="),
    ],
)
def test_every_form_is_replaced_completely(form: bytes) -> None:
    assert masked(b"before " + form + b" after\n") == b"before [secret] after\n"


@given(before=st.binary(max_size=7), after=st.binary(max_size=7), url_safe=st.booleans())
def test_base64_of_a_text_that_contains_the_secret_shows_none_of_it(
    before: bytes, after: bytes, url_safe: bool
) -> None:
    encode = base64.urlsafe_b64encode if url_safe else base64.b64encode
    shown = masked(encode(before + RAW + after))
    assert MASK in shown
    left = shown.replace(MASK, b"")
    # At most the characters that the neighbours' bytes share with the secret's first and last byte.
    assert len(left) <= len(base64.b64encode(before)) + len(base64.b64encode(after)) + 4


@pytest.mark.parametrize("columns", [76, 64])
def test_wrapped_base64_of_a_long_secret_is_replaced_on_every_line(columns: int) -> None:
    secret = "".join(chr(33 + index % 90) for index in range(200))
    wrapped = "\n".join(textwrap.wrap(base64.b64encode(secret.encode()).decode(), columns))
    assert masked(wrapped.encode(), secret).replace(MASK, b"").strip() == b""


def test_each_line_of_a_multi_line_value_is_replaced_except_short_ones() -> None:
    key = "-----BEGIN KEY-----\r\nabcdefgh12345\n  indented-line\nxyz\n-----END KEY-----\n"
    shown = masked(b"abcdefgh12345 and indented-line and xyz\n" + base64.b64encode(b"abcdefgh12345"), key)
    assert shown == b"[secret] and [secret] and xyz\n[secret]"


def test_values_under_six_bytes_of_utf8_are_not_masked() -> None:
    assert masked(b"12345 123456", "12345", "123456") == b"12345 [secret]"
    assert masked("żżż".encode(), "żżż") == MASK


def test_overlapping_secrets_are_both_masked() -> None:
    assert masked(b"<abcdefghij>", "abcdef", "efghij") == b"<[secret]>"
    assert masked(b"<abcdefabcdef>", "abcdef") == b"<[secret][secret]>"
    assert masked(b"<abcdefgh>", "abcdefgh", "cdefgh", "abcdef") == b"<[secret]>"
    assert masked(b"aaaaaaaaaa", "aaaaaa") == MASK


@pytest.mark.parametrize("count", [1, 6, 20, 100])
def test_overlapping_secrets_of_different_groups_are_both_masked(count: int) -> None:
    secrets = [f"{number:03}-secret-{number:03}" for number in range(count)]
    # Sorted, the first and the last of the patterns are far from each other.
    secrets += ["000-secret", "zzz-000-secret-000"]
    text = "\n".join(f"<{secret}> {secret}" for secret in secrets).encode()
    assert masked(text, *secrets) == b"\n".join([b"<[secret]> [secret]"] * len(secrets))


def test_a_secret_with_a_lone_surrogate_is_masked_in_its_repaired_form() -> None:
    assert masked("abc\ufffd\ufffd\ufffddef".encode(), "abc\ud800def") == MASK


@given(st.lists(st.text(min_size=1, max_size=12), max_size=5), st.text(max_size=60))
def test_no_secret_of_six_bytes_survives_in_any_text(secrets: list[str], text: str) -> None:
    text = text + "".join(secrets) + text
    left = masked(text.encode(), *secrets, "unused").split(MASK)
    for secret in secrets:
        if len(secret.encode()) >= 6 and "\n" not in secret:
            assert not any(secret.encode() in part for part in left)


letters = st.text("ab\n", min_size=6, max_size=14)


@given(st.lists(letters, max_size=6), st.text("ab\n", max_size=80).map(str.encode))
def test_spans_are_the_union_of_all_matches(secrets: list[str], text: bytes) -> None:
    assert Masker(secrets).spans(text) == naive_spans(text, tuple(secrets))


@given(st.lists(letters, max_size=6), st.text("ab", max_size=30).map(str.encode))
def test_pending_bytes_are_the_longest_suffix_that_begins_a_pattern(secrets: list[str], line: bytes) -> None:
    ends = [line[at:] for at in range(len(line))]
    patterns = patterns_of(tuple(secrets))
    begins = [end for end in ends if any(len(end) < len(p) and p.startswith(end) for p in patterns)]
    cores = [core for secret in secrets for core in base64_cores(secret)]
    inner = [line for core in cores if line in core]
    assert Masker(secrets).pending_bytes(line) == max(map(len, [*begins, *inner]), default=0)


def test_secrets_that_are_prefixes_of_each_other_take_linear_time() -> None:
    masker = Masker("a" * length for length in range(6, 56))
    assert masker.spans(b"a" * 50_000) == [(0, 50_000)]
    assert growth(lambda size: lambda: masker.spans(b"a" * size), 10_000, 8) < 24


@pytest.mark.slow
def test_a_thousand_secrets_that_differ_only_at_their_ends_take_linear_time() -> None:
    secrets = ["a" * 6, *("a" * 1000 + str(number) for number in range(1000))]
    masker = Masker(secrets)
    assert masker.spans(b"a" * 50_000) == [(0, 50_000)]
    of_one_secret = cpu_seconds(lambda: Masker(secrets[:1]).spans(b"a" * 50_000))
    assert cpu_seconds(lambda: masker.spans(b"a" * 50_000)) < 20 * of_one_secret


@pytest.mark.slow
@pytest.mark.parametrize("endings", ["", "bcdefgh", "bcdefghijklm"])
def test_secrets_of_128_kb_of_one_letter_take_linear_time(endings: str) -> None:
    """Every position of such a text is the beginning of a match."""

    def of_length(length: int) -> Callable[[], object]:
        masker = Masker("a" * length + ending for ending in endings or [""])
        return lambda: masker.spans(b"a" * 60_000)

    assert Masker("a" * 131_000 + ending for ending in endings or [""]).spans(b"a" * 150_000) == [(0, 150_000)]
    assert growth(of_length, 2_000, 16) < 8, "the length of the secrets does not matter"


@pytest.mark.parametrize("form", [lambda text: text, quote, lambda text: base64.b64encode(text.encode()).decode()])
def test_a_secret_of_many_kilobytes_is_replaced_by_one_mask(form: Callable[[str], str]) -> None:
    secret = "".join(f"<line {number}>" for number in range(10_000))
    assert masked(f"before {form(secret)} after".encode(), secret) == b"before [secret] after"
    # A part of the secret, printed alone.
    assert masked(f"before {secret[5_000:9_000]} after".encode(), secret).count(b"<line") <= 200


@pytest.mark.slow
@given(st.sets(st.text("ab", min_size=6, max_size=12), min_size=30), st.text("ab", max_size=80).map(str.encode))
def test_spans_of_many_secrets_with_few_heads_are_the_union_of_all_matches(secrets: set[str], text: bytes) -> None:
    assert Masker(secrets).spans(text) == naive_spans(text, tuple(secrets))


# Slices of one text, so that they overlap in every way; slices of 17 bytes and more may be isolated patterns.
alphabet = string.ascii_letters + string.digits
shorter = st.tuples(st.integers(0, 30), st.integers(6, 40)).map(lambda at: alphabet[at[0] : sum(at)])
longer = st.tuples(st.integers(0, 20), st.integers(20, 50)).map(lambda at: alphabet[at[0] : sum(at)])


@example([alphabet[:24], alphabet[20:44]], [alphabet])
@example([alphabet[:24], alphabet[:40]], [alphabet])
@given(st.lists(shorter, min_size=1, max_size=4), st.lists(longer, max_size=3))
def test_spans_of_secrets_with_common_parts_are_the_union_of_all_matches(secrets: list[str], text: list[str]) -> None:
    line = "".join(text).encode()
    assert Masker(secrets).spans(line) == naive_spans(line, tuple(secrets))
