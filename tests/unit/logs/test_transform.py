"""The transformation of raw streams to the log's bytes: repairs, masks, caps; timing never changes a byte."""

import base64
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shuttle.logs import LogRules
from shuttle.logs.mask import MASK, Masker
from shuttle.logs.stream_transform import LINE_CUT, StreamTransform
from shuttle.logs.transform import LOG_CUT, LogComposer, transform_line
from tests.support.naive_search import naive_spans

SECRETS = (
    "topsecret",
    "secretary",
    "cret\rary",
    "<topsecret>",
    "line one\nline two",
    "bro\ufffdken",
    "aaaaaaa",
    "aaaaaaaaab",
    "topsecret" * 2,
    't"p/s&cret',
)
BASE64 = base64.b64encode(b"--topsecret--")
# If it is wrapped, each line has more than 8 characters of it.
CUT = base64.b64encode(b"topsecret" * 2)
NO_CAP = 10_000


def transform(raw: bytes, *secrets: str, cap: int = NO_CAP) -> bytes:
    stream = StreamTransform(Masker(secrets), cap)
    return stream.feed(raw) + stream.finish()


# --- one stream ---------------------------------------------------------------------------------------


def test_only_line_ends_and_invalid_utf8_are_changed() -> None:
    raw = b"[Pipeline] x\na\r\nb\rc\n\x1b[31mred\x1b[0m\t\x00\n\xff\xe2\x82\n\xe2\x82\xac\n\r\n\r\r\n  \n"
    assert transform(raw) == "[Pipeline] x\na\nb\rc\n\x1b[31mred\x1b[0m\t\x00\n\ufffd\ufffd\n€\n\n\r\n  \n".encode()


def test_lines_that_look_like_lines_of_jenkins_are_kept() -> None:
    raw = b"Started by hand\n[Pipeline] node\nRunning on a in /b\n"
    assert transform(raw) == raw


def test_an_unfinished_line_is_held_until_the_stream_is_idle() -> None:
    stream = StreamTransform(Masker(SECRETS), NO_CAP)
    assert stream.feed(b"one\ntests: ..") == b"one\n"
    assert stream.idle() == b"tests: .."
    assert stream.feed(b"..\n") == b"..\n"


@pytest.mark.parametrize("held", [b"topsec", b"a", b"\r", b"\xe2\x82", b"cret\r", b"aaaaaaaa", b"bro\xff", b"t\xe2"])
def test_idle_stream_shows_no_byte_that_later_bytes_may_change(held: bytes) -> None:
    stream = StreamTransform(Masker(("topsecret", "cret\rary", "bro\ufffdken", "aaaaaaaaab", "t\u20acuvwx")), NO_CAP)
    assert stream.feed(b"before " + held) == b""
    assert stream.idle() == b"before "
    assert stream.held_bytes == len(held)
    assert stream.idle() == b""


def test_a_match_that_grows_after_idle_has_one_mask() -> None:
    stream = StreamTransform(Masker(("topsecret", "secretary")), NO_CAP)
    assert stream.feed(b"<topsecret") + stream.idle() == b"<[secret]"
    assert stream.held_bytes == len("secret")
    assert stream.feed(b"ary>") + stream.idle() == b">"


def test_a_stream_of_whole_lines_holds_an_unfinished_line() -> None:
    stream = StreamTransform(Masker(()), NO_CAP, whole_lines=True)
    assert stream.feed(b"one\ntwo") == b"one\n"
    assert stream.idle() == b""
    assert stream.finish() == b"two"


def test_a_line_above_the_cap_is_cut_with_a_notice_between_two_characters() -> None:
    assert transform(b"0123456789\n0123456789\r\n0123456789a\nb\n", cap=10) == (
        b"0123456789\n0123456789\n0123456789" + LINE_CUT + b"\nb\n"
    )
    assert transform("012345678é\n".encode(), cap=10) == b"012345678" + LINE_CUT + b"\n"
    assert transform(b"x" * 1000, cap=10) == b"x" * 10 + LINE_CUT


def test_the_end_of_a_progress_bar_is_kept_by_the_line_cap() -> None:
    bar = b"".join(b"\r%3d %%" % percent for percent in range(101))
    assert transform(bar + b" done\n", cap=10) == bar + b" done\n"
    assert transform(b"0123456789abc\r99 %\n", cap=10) == b"0123456789" + LINE_CUT + b"\r99 %\n"


@pytest.mark.parametrize("before", range(12))
def test_a_secret_at_the_cut_is_masked_completely(before: int) -> None:
    shown = transform(b"." * before + b"topsecret" + b"." * 50 + b"\nnext\n", "topsecret", cap=10)
    masked = b"." * before + MASK + b"." * (1 - before) if before < 10 else b"." * 10
    assert shown == masked + LINE_CUT + b"\nnext\n"


def test_a_secret_that_begins_after_the_cut_is_masked_after_the_next_cr() -> None:
    assert transform(b"0123456789cret\rary and\n", "cret\rary", cap=10) == b"0123456789" + LINE_CUT + MASK + b" and\n"


@pytest.mark.parametrize("whole_lines", [False, True])
@pytest.mark.parametrize("line", [b"x" * 700, b"progress\r" * 80, b"topsecret" * 80, b"\xff\xf0\x90" * 300])
def test_memory_for_an_endless_line_is_bounded(line: bytes, whole_lines: bool) -> None:
    stream = StreamTransform(Masker(("topsecret",)), 1000, whole_lines=whole_lines)
    for _ in range(100):
        stream.feed(line)
        assert stream.held_bytes <= 1000 + len(BASE64)


# --- timing never changes a byte ------------------------------------------------------------------------


def reference(raw: bytes, secrets: tuple[str, ...], cap: int) -> bytes:
    """The definition, character by character over the whole input."""
    text = raw.replace(b"\r\n", b"\n").decode(errors="replace").encode()
    span_at = {at: span for span in naive_spans(text, secrets) for at in range(*span)}
    shown, masked, piece_bytes, at = [], set(), 0, 0
    for character in text.decode():
        encoded = character.encode()
        ends_piece = character in "\r\n"
        was_cut = piece_bytes > cap
        piece_bytes = 0 if ends_piece else piece_bytes + len(encoded)
        if piece_bytes <= cap and not (was_cut and not ends_piece):
            span = span_at.get(at)
            if span is None:
                shown.append(encoded)
            elif span not in masked:
                masked.add(span)
                shown.append(MASK)
        elif not was_cut:
            shown.append(LINE_CUT)
        at += len(encoded)
    return b"".join(shown)


pieces = st.sampled_from(
    [
        *(
            b"\n",
            b"\r",
            b"\r\n",
            b"<",
            b">",
            b"topsecret",
            b"topse",
            b"cret",
            b"ary",
            b"cret\rary",
            b"secretary",
            b"line one",
        ),
        *(b"line two", b"\xe2\x82\xac", b"\xe2\x82", b"\xe2", b"\xff", b"bro", b"ken", b"\xf0\x90", b"\xef\xbf\xbd"),
        *(
            b"plain text ",
            b"<topsecret",
            b"t\\",
            b"\\u002",
            b"2p\\/s&cret",
            b't"p%2Fs%',
            b"26cret",
            b"&quot;p/s&amp;cret",
            b"a",
            b"aaaa",
            b"b",
            b"x" * 30,
            BASE64,
            BASE64[:7],
            BASE64[7:],
            CUT[:10],
            CUT[10:],
        ),
    ]
)
raws = st.lists(pieces, max_size=30).map(b"".join)
secret_sets = st.sampled_from([(), SECRETS[:1], SECRETS])
caps = st.sampled_from([0, 1, 5, 12, 25, 60, NO_CAP])
maskers = {secrets: Masker(secrets) for secrets in [(), SECRETS[:1], SECRETS]}
# After these bytes: nothing, a call of idle, or a new object from the state.
feeds = st.lists(st.tuples(pieces, st.sampled_from(["", "idle", "resume"])), max_size=30)


@given(feeds, secret_sets, caps, st.booleans(), st.booleans())
@example([(b"x" * 12 + b"\r", "idle"), (b"\n", "")], (), 12, False, False)
@example([(b"<topsecret", "idle"), (b">.", "")], SECRETS, 12, False, False)
@example([(b"0123456 topsecret", "idle"), (b"", "resume"), (b"\rary!\n", "")], SECRETS, 5, False, False)
def test_division_idle_calls_and_resumptions_never_change_the_text(
    feeds: list[tuple[bytes, str]], secrets: tuple[str, ...], cap: int, by_byte: bool, whole_lines: bool
) -> None:
    if by_byte:
        feeds = [(bytes([byte]), then) for piece, then in feeds for byte in piece]
    raw = b"".join(piece for piece, _ in feeds)
    masker = maskers[secrets]
    stream, out, taken, known = StreamTransform(masker, cap, whole_lines=whole_lines), b"", 0, 0
    for piece, then in feeds:
        known += len(piece)
        out += stream.feed(raw[taken:known])
        taken = known
        if then == "idle":
            out += stream.idle()
        if then == "resume":
            taken -= stream.held_bytes
            state = json.loads(json.dumps(stream.state()))
            stream = StreamTransform(masker, cap, state, whole_lines=whole_lines)
    out += stream.feed(raw[taken:]) + stream.finish()
    assert out == reference(raw, secrets, cap)
    assert stream.held_bytes == 0


@given(raws, secret_sets, st.integers(0, 200))
def test_the_text_after_idle_is_a_prefix_of_the_final_text(raw: bytes, secrets: tuple[str, ...], at: int) -> None:
    stream = StreamTransform(maskers[secrets], NO_CAP)
    assert reference(raw, secrets, NO_CAP).startswith(stream.feed(raw[:at]) + stream.idle())


@given(st.binary(max_size=40), st.lists(st.integers(1, 4), max_size=20))
def test_the_repair_of_invalid_bytes_does_not_depend_on_their_division(raw: bytes, sizes: list[int]) -> None:
    stream, out, at = StreamTransform(Masker(()), NO_CAP), b"", 0
    for size in sizes:
        out += stream.feed(raw[at : at + size]) + stream.idle()
        at += size
    assert out + stream.feed(raw[at:]) + stream.finish() == reference(raw, (), NO_CAP)


def test_feeding_many_blocks_at_once_gives_the_same_text_as_line_by_line() -> None:
    lines = [b"line %d topsecret \xc3\xa9\r\n" % number for number in range(20_000)]
    stream = StreamTransform(maskers[SECRETS], NO_CAP)
    assert b"".join(map(stream.feed, lines)) == transform(b"".join(lines), *SECRETS)


# --- several streams, one log ---------------------------------------------------------------------------


def test_lines_of_branches_have_a_prefix_and_begin_on_a_new_line() -> None:
    log = LogComposer(LogRules())
    out = log.add(b"build: ..") + log.add(b"one\ntwo\n", "linux", "linux") + log.add(b"done\n")
    assert out == b"build: ..\n[linux] one\n[linux] two\ndone\n"
    assert log.add(b"three", "linux", "linux") + log.add(b"x") == b"[linux] three\nx"
    assert log.add(b"a\r") + log.add(b"b") == b"a\rb"
    assert log.own_lines("-----> ended") == b"\n-----> ended\n"


def test_the_line_cap_of_a_branch_counts_its_prefix() -> None:
    stream = LogComposer(LogRules(max_line_bytes=12)).stream("arm")
    assert stream.feed(b"1234567\n") == b"123456" + LINE_CUT + b"\n"


def test_the_shuttles_own_lines_are_masked_and_cut_like_all_others() -> None:
    rules = LogRules(secrets=SECRETS, max_line_bytes=20)
    assert transform_line("-----> topsecret", rules) == "-----> [secret]\n"
    assert transform_line("one\ntwo\n", rules) == "one\ntwo\n"
    assert transform_line("-----> " + "x" * 100, rules) == "-----> " + "x" * 13 + LINE_CUT.decode() + "\n"
    assert transform_line("a \ud800", rules) == "a \ufffd\ufffd\ufffd\n"


def test_a_log_above_the_cap_ends_with_one_notice_on_a_line_of_its_own() -> None:
    log = LogComposer(LogRules(max_log_bytes=len(LOG_CUT) + 1 + 14))
    out = log.add("line é\n".encode()) + log.add("line é\n".encode())
    assert out == "line é\nline ".encode() + b"\n" + LOG_CUT
    assert log.add(b"more\n") == b""
    assert log.add(b"more\n") + log.own_lines("more") + log.add(b"x", "b", "b") == b""
    assert log.written_bytes == len(out)


def test_earlier_bytes_of_the_log_count_for_its_cap() -> None:
    rules = LogRules(max_log_bytes=1024)
    assert LogComposer(rules, written_bytes=1020).add(b"line\n") == LOG_CUT
    assert transform_line("-----> x", rules, written_bytes=1020) == LOG_CUT.decode()
    assert transform_line("-----> x", rules, written_bytes=20) == "-----> x\n"


texts = st.text("ab\r\né€", min_size=1, max_size=20).map(str.encode)
entries = st.lists(st.tuples(st.sampled_from(["", "linux", "mac", "own"]), texts), max_size=12)


def compose(log: LogComposer, stream: str, text: bytes) -> bytes:
    if stream == "own":
        return log.own_lines(text.decode())
    return log.add(text, stream, stream)


@given(entries, st.integers(0, 150), st.lists(st.integers(0, 4), max_size=40), st.booleans())
def test_the_log_does_not_depend_on_how_texts_are_divided(
    entries: list[tuple[str, bytes]], room: int, sizes: list[int], resumed: bool
) -> None:
    rules = LogRules(max_log_bytes=room + len(LOG_CUT) + 1)
    unlimited, whole, divided, out, log = LogComposer(LogRules()), LogComposer(rules), LogComposer(rules), b"", b""
    full = b""
    for stream, text in entries:
        full += compose(unlimited, stream, text)
        log += compose(whole, stream, text)
        parts = list(text.decode())
        while parts:
            size = sizes.pop() if sizes and stream != "own" else len(parts)
            out += compose(divided, stream, "".join(parts[:size]).encode())
            parts = parts[size:]
            if resumed:
                divided = LogComposer(rules, json.loads(json.dumps(divided.state())))
    assert out == log
    assert divided.written_bytes == len(out) <= rules.max_log_bytes
    assert divided.ends_in_line == (bool(out) and not out.endswith(b"\n"))
    if len(full) <= room:
        assert log == full
    else:
        kept = full[:room].decode(errors="ignore").encode()
        assert log == kept + (b"" if not kept or kept.endswith(b"\n") else b"\n") + LOG_CUT


@pytest.mark.slow
@given(feeds, st.integers(0, 120))
def test_idle_calls_do_not_move_the_byte_cap(feeds: list[tuple[bytes, str]], room: int) -> None:
    rules = LogRules(secrets=SECRETS, max_line_bytes=25, max_log_bytes=room + len(LOG_CUT) + 1)
    log = LogComposer(rules)
    stream, out = log.stream(), b""
    for piece, then in feeds:
        out += log.add(stream.feed(piece))
        out += log.add(stream.idle()) if then == "idle" else b""
    out += log.add(stream.finish())
    raw = b"".join(piece for piece, _ in feeds)
    assert out == LogComposer(rules).add(reference(raw, SECRETS, 25))
