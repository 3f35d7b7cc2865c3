"""Jenkins' text to the log's text: what goes, what stays, and that no cut of the input changes a byte."""

import json
from copy import copy
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shuttle.logs import LogRules
from shuttle.logs.transform import LINE_CUT, LOG_CUT, LogTransform, transform_line

RECORDED = Path(__file__).parents[2] / "recordings" / "declarative" / "console.txt"
SECRETS = ("topsecret", "line one\nline two")


def whole(raw: bytes, rules: LogRules) -> bytes:
    transform = LogTransform(rules)
    return transform.feed(raw) + transform.finish()


def clean(raw: bytes) -> bytes:
    return whole(raw, LogRules())


# --- what goes and what stays -------------------------------------------------------------------------


def test_the_recorded_console_keeps_the_builds_own_lines_only() -> None:
    raw = RECORDED.read_bytes()
    own = [
        line
        for line in raw.splitlines(keepends=True)
        if not line.startswith((b"[Pipeline] ", b"Started by ", b"Running "))
    ]
    assert clean(raw) == b"".join(own)
    assert clean(raw).startswith(b"+ echo uuid u1")
    assert whole(raw, LogRules(keep_engine_lines=True)) == raw


def test_only_the_engines_own_running_on_line_goes() -> None:
    raw = (
        b"Started by user admin\r\nRunning in Durability level: MAX_SURVIVABILITY\r\n[Pipeline] Start of Pipeline\r\n"
        b"[Pipeline] node\r\nStill waiting to schedule task\r\nWaiting for next available executor\r\n"
        b"Running on Jenkins in /var/lib/jenkins/workspace/a b@2\r\n[Pipeline] {\r\n"
        b"Running on port 80\r\nRunning on agent in /home\r\nStarted by hand\r\nRunning in Durability level: none\r\n"
    )
    assert clean(raw) == (
        b"Still waiting to schedule task\nWaiting for next available executor\n"
        b"Running on port 80\nRunning on agent in /home\nStarted by hand\nRunning in Durability level: none\n"
    )


def test_running_on_port_80_stays_even_right_behind_a_node_line() -> None:
    assert clean(b"[Pipeline] node\nRunning on port 80\nRunning on a in C:\\work\n") == b"Running on port 80\n"


def test_the_lines_of_a_resumed_build_go() -> None:
    raw = (
        b"[Pipeline] sh\ntick 1\nReady to run at dawn\n"
        b"Resuming build at Fri Nov 20 21:23:39 UTC 2026 after Jenkins restart\r\n"
        b"Waiting to resume part of c1 #31: Finished waiting\r\nReady to run at Fri Nov 20 21:23:40 UTC 2026\r\n"
        b"tick 2\n[Pipeline] }\nReady to run at Fri Nov 20 21:23:40 UTC 2026\n"
    )
    assert clean(raw) == b"tick 1\nReady to run at dawn\ntick 2\nReady to run at Fri Nov 20 21:23:40 UTC 2026\n"


def test_a_step_name_inside_a_line_is_no_engine_line() -> None:
    assert clean(b"echo [Pipeline] node\n [Pipeline] x\n") == b"echo [Pipeline] node\n [Pipeline] x\n"


def test_line_ends_and_broken_utf8_are_repaired_and_everything_else_stays() -> None:
    raw = b"[Pipeline] x\na\r\nb\rc\n\x1b[31mred\x1b[0m\t\x00\n\xff\xe2\x82\n\xe2\x82\xac\n\r\n  \n"
    assert clean(raw) == "a\nb\rc\n\x1b[31mred\x1b[0m\t\x00\n\ufffd\ufffd\n€\n\n  \n".encode()


def test_a_last_line_without_its_end_is_shown_at_the_end() -> None:
    transform = LogTransform(LogRules(secrets=SECRETS))
    assert transform.feed(b"one\ntwo topse") == b"one\n"
    assert transform.feed(b"cret") == b""
    assert transform.finish() == b"two [secret]"
    assert transform.finish() == b""
    assert transform.own_lines("-----> ended: topsecret") == b"\n-----> ended: [secret]\n"


def test_a_copy_goes_its_own_way_so_that_a_response_that_is_cut_can_be_read_again() -> None:
    transform = LogTransform(LogRules(secrets=SECRETS))
    transform.feed(b"[Pipeline] node\nhalf a ")
    attempt = copy(transform)
    assert attempt.feed(b"line\nRunning on a in /b\nRunning on a in /b\n") == b"half a line\nRunning on a in /b\n"
    assert transform.feed(b"line\nRunning on a in /b\nx\n") == b"half a line\nx\n"


# --- caps ---------------------------------------------------------------------------------------------


def test_a_line_above_the_cap_is_cut_with_a_notice_between_two_characters() -> None:
    rules = LogRules(max_line_bytes=10)
    assert whole(b"0123456789\n0123456789\r\n0123456789a\nb\n", rules) == (
        b"0123456789\n0123456789\n0123456789" + LINE_CUT + b"\nb\n"
    )
    assert whole("012345678é\n".encode(), rules) == b"012345678" + LINE_CUT + b"\n"
    assert whole(b"x" * 1000, rules) == b"x" * 10 + LINE_CUT + b"\n"
    assert whole(b"[Pipeline] and much more\nx\n", LogRules(max_line_bytes=12)) == b"x\n"


@pytest.mark.parametrize("before", range(12))
def test_a_secret_at_the_cut_is_masked_whole(before: int) -> None:
    text = b"." * before + b"topsecret" + b"." * 50
    shown = whole(text + b"\nnext\n", LogRules(secrets=SECRETS, max_line_bytes=10))
    masked = b"." * before + b"[secret]" + b"." * (10 - before - 9) if before < 10 else b"." * 10
    assert shown == masked + LINE_CUT + b"\nnext\n"


def test_an_endless_line_takes_bounded_memory_and_is_shown_once_it_is_known_to_be_cut() -> None:
    transform = LogTransform(LogRules(max_line_bytes=1000))
    out = b"".join(transform.feed(b"x" * 700) for _ in range(1000))
    assert out == b"x" * 1000 + LINE_CUT + b"\n"
    assert transform.state() is not None
    assert transform.feed(b"still the same line\nnext\n") == b"next\n"


def test_a_log_above_the_cap_ends_with_one_notice_behind_its_last_whole_line() -> None:
    transform = LogTransform(LogRules(max_log_bytes=200, secrets=SECRETS))
    out = b"".join(transform.feed(b"line %02d topsecret\n" % number) for number in range(50))
    assert out.endswith(LOG_CUT)
    assert out.count(LOG_CUT) == 1
    assert out.removesuffix(LOG_CUT).splitlines() == [b"line %02d [secret]" % number for number in range(6)]
    assert len(out) <= 200
    assert transform.feed(b"more\n") + transform.finish() + transform.own_lines("more") == b""
    assert transform.written_bytes == len(out)


def test_what_the_log_holds_already_counts_for_its_cap() -> None:
    rules = LogRules(max_log_bytes=1024)
    assert LogTransform(rules, written_bytes=1020).feed(b"line\n") == LOG_CUT
    assert transform_line("-----> x", rules, written_bytes=1020) == LOG_CUT.decode()
    assert transform_line("-----> x", rules, written_bytes=20) == "-----> x\n"


def test_preamble_lines_are_masked_and_cut_like_all_others() -> None:
    rules = LogRules(secrets=SECRETS, max_line_bytes=20)
    assert transform_line("-----> topsecret", rules) == "-----> [secret]\n"
    assert transform_line("[Pipeline] stays\nStarted by us\n", rules) == "[Pipeline] stays\nStarted by us\n"
    assert transform_line("-----> " + "x" * 100, rules) == "-----> " + "x" * 13 + LINE_CUT.decode() + "\n"


# --- purity -------------------------------------------------------------------------------------------

pieces = st.sampled_from(
    [
        *(b"\n", b"\r", b"\r\n", b"[Pipeline] node", b"[Pipeline] {", b"Started by user x", b"Running on a in /b"),
        *(b"topsecret", b"topse", b"cret", b"line one", b"\xe2\x82\xac", b"\xe2\x82", b"\xff", b"plain text "),
        *(b"Resuming build at Fri Nov 20 21:23:39 UTC 2026 after Jenkins restart", b"x" * 30),
        *(b"Waiting to resume part of c1 #31: y", b"Running in Durability level: Z", b"Ready to run at dawn"),
    ]
)
logs = st.lists(pieces, max_size=40).map(b"".join)
rule_sets = st.builds(
    LogRules,
    secrets=st.sampled_from([(), SECRETS]),
    keep_engine_lines=st.booleans(),
    max_line_bytes=st.sampled_from([1, 12, 25, 60, 10_000]),
    max_log_bytes=st.sampled_from([0, 100, 180, 10_000]),
)


@given(logs, rule_sets, st.lists(st.integers(0, 400), max_size=12))
@example(b"x" * 12 + b"\r\n", LogRules(max_line_bytes=12), [13])
def test_any_cut_of_the_input_gives_the_same_log(raw: bytes, rules: LogRules, cuts: list[int]) -> None:
    transform, out, at = LogTransform(rules), b"", 0
    for cut in sorted(cuts):
        out += transform.feed(raw[at:cut])
        at = max(at, cut)
        state = transform.state()
        if state is not None:
            transform = LogTransform(rules, json.loads(json.dumps(dict(state))))
    out += transform.feed(raw[at:]) + transform.finish()
    assert out == whole(raw, rules)
    assert transform.written_bytes == len(out)


@given(logs, st.sampled_from([(), SECRETS]))
def test_lines_taken_in_blocks_and_one_by_one_come_out_alike(raw: bytes, secrets: tuple[str, ...]) -> None:
    long_lines, short_lines = LogRules(secrets=secrets), LogRules(secrets=secrets, max_line_bytes=max(1, len(raw) * 3))
    one_by_one = LogTransform(short_lines)
    out = b"".join(one_by_one.feed(raw[at : at + 1]) for at in range(len(raw))) + one_by_one.finish()
    assert out == whole(raw, long_lines)


def test_more_than_a_block_at_once_is_the_same_as_its_lines() -> None:
    lines = [b"line %d topsecret \xc3\xa9\r\n" % number for number in range(20_000)]
    transform = LogTransform(LogRules(secrets=SECRETS))
    assert b"".join(map(transform.feed, lines)) == whole(b"".join(lines), LogRules(secrets=SECRETS))
