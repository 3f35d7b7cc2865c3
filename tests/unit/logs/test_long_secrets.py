"""Long secrets: the pieces of their forms are masked alike, wherever pushes end and lines pause."""

import json
import random
from collections.abc import Iterator

import pytest

from shuttle.logs.mask import MASK, Masker
from shuttle.logs.stream_transform import StreamTransform

NO_CAP = 1_000_000
DIVISIONS = 40
CJK = "".join(chr(0x4E00 + 7 * number % 20_000) for number in range(1000))
ASCII = "".join(f"<{number * 2654435761 % 2**32:08x}" for number in range(280))


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
    for ends in divisions(raw, choose):
        assert divided(masker, raw, ends, choose) == in_one_push(masker, raw), ends


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
