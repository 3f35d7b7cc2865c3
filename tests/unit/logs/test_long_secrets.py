"""Long secrets are masked alike wherever pushes end and lines pause: pieces of their forms, and wrapped base64."""

import base64
import json
import random
from collections.abc import Iterator

import pytest

from shuttle.logs.mask import MASK, Masker
from shuttle.logs.stream_transform import StreamTransform

NO_CAP = 1_000_000
DIVISIONS = 20
CJK = "".join(chr(0x4E00 + 7 * number % 20_000) for number in range(1000))
ASCII = "".join(f"<{number * 2654435761 % 2**32:08x}" for number in range(280))


def wrapped(text: bytes, columns: int) -> bytes:
    encoded = base64.b64encode(text)
    return b"\n".join(encoded[at : at + columns] for at in range(0, len(encoded), columns))


def in_one_push(masker: Masker, raw: bytes) -> bytes:
    stream = StreamTransform(masker, NO_CAP)
    return stream.feed(raw) + stream.finish()


def divided(masker: Masker, raw: bytes, ends: list[int], choose: random.Random) -> bytes:
    """The text if pushes end at `ends`; after each, the line pauses, or a new object continues from the state."""
    stream, shown, taken = StreamTransform(masker, NO_CAP), b"", 0
    for end in ends:
        shown += stream.feed(raw[taken:end]) + stream.idle()
        taken = end
        if choose.random() < 0.3:
            taken -= stream.held_bytes
            stream = StreamTransform(masker, NO_CAP, stream.state())
    return shown + stream.feed(raw[taken:]) + stream.finish()


def divisions(raw: bytes, choose: random.Random) -> Iterator[list[int]]:
    """The ends of pushes: one in each part of the text, and a few anywhere."""
    for number in range(DIVISIONS):
        yield [choose.randrange(number * len(raw) // DIVISIONS, (number + 1) * len(raw) // DIVISIONS)]
        yield sorted(choose.choices(range(len(raw)), k=choose.randint(2, 6)))


def assert_divisions_change_nothing(secret: str, printed: bytes) -> None:
    masker, choose = Masker([secret]), random.Random(7)
    raw = b"before " + printed + b" after\n"
    whole = in_one_push(masker, raw)
    for ends in divisions(raw, choose):
        assert divided(masker, raw, ends, choose) == whole, ends


@pytest.mark.parametrize(
    "secret",
    [CJK, ASCII[:999] + "ü" + ASCII[999:], ASCII[:999] + "\ud800" + ASCII[999:], ASCII.replace("<", "\ufffd")],
    ids=["cjk", "one letter", "surrogate", "replacements"],
)
def test_a_long_secret_beyond_ascii_is_masked_wherever_pushes_end(secret: str) -> None:
    printed = secret.encode(errors="surrogatepass")
    assert in_one_push(Masker([secret]), printed) == MASK
    assert_divisions_change_nothing(secret, printed)


def test_a_long_escaped_secret_beyond_ascii_is_masked_wherever_pushes_end() -> None:
    secret = f'"{CJK}'
    assert_divisions_change_nothing(secret, json.dumps(secret, ensure_ascii=False).encode())


@pytest.mark.parametrize("before", range(994, 1002))
def test_a_long_escaped_secret_is_masked_if_its_escapes_have_upper_case_digits(before: int) -> None:
    form = f"{ASCII[:before]}\\u00E9{ASCII[before:]}".encode()
    assert in_one_push(Masker([f"{ASCII[:before]}é{ASCII[before:]}"]), form) == MASK


@pytest.mark.parametrize("columns", [30, 130, 200, 260, 1030, 2000])
def test_wrapped_base64_is_masked_at_any_width_and_wherever_pushes_end(columns: int) -> None:
    printed = wrapped(b"x" + ASCII.encode(), columns)
    shown = in_one_push(Masker([ASCII]), printed)
    # The last line may hold less than 6 bytes of the secret.
    assert max(len(line.replace(MASK, b"").rstrip(b"=")) for line in shown.split(b"\n")) <= 8
    assert_divisions_change_nothing(ASCII, printed)


@pytest.mark.parametrize("secret", [ASCII[:600], ASCII, ASCII[:40] * 30], ids=["one piece", "pieces", "repeated"])
def test_lines_that_hold_parts_of_base64_are_masked_alike_wherever_pushes_end(secret: str) -> None:
    choose, encoded = random.Random(5), base64.b64encode(b"xy" + secret.encode())
    starts = [choose.randrange(len(encoded)) for _ in range(10)]
    parts = [encoded[at : at + choose.choice([7, 8, 40, 200, 300, 1100])] for at in starts]
    joints = choose.choices([b"\n", b" ", b"A", b"=", "é".encode()], k=len(parts))
    assert_divisions_change_nothing(secret, b"".join(part + joint for part, joint in zip(parts, joints, strict=True)))


def test_a_part_that_overlaps_a_match_is_masked_only_if_its_run_ends() -> None:
    """The run contains the end of one piece, which is certain, and the beginning of the next, which is not."""
    assert_divisions_change_nothing(ASCII, base64.b64encode(ASCII.encode())[900:1060] + b"AA")
