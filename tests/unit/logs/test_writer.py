"""The writer gives the same bytes for any timing, after a restart, and when a lost log is written again."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shuttle.errors import ConflictError
from shuttle.logs.raw_streams import MAX_STREAMS
from tests.unit.logs.durable_log import BRANCHES, LEFT, MAIN, PREAMBLE, RIGHT, RULES, DurableLog, send, written

CHANGED = b"-----> An agent's copy of this log was changed after it had been sent.\n"
LOST = b"-----> A part of this log was lost with the shuttle's disk.\n"


@pytest.fixture
def durable(tmp_path: Path) -> DurableLog:
    return DurableLog(tmp_path / "log")


def test_one_stream_is_repaired_and_masked(durable: DurableLog):
    writer, _ = durable.writer()
    send(writer, MAIN, b"one\r\ntwo s3cret-value\nthree")
    writer.finish()
    assert written(durable) == PREAMBLE + b"one\ntwo [secret]\nthree"


def test_readers_see_only_committed_text(durable: DurableLog):
    writer, spool = durable.writer()
    send(writer, MAIN, b"one\n")
    assert (spool.size_bytes, spool.written_bytes) == (len(PREAMBLE), len(PREAMBLE) + 4)
    durable.commit(writer, spool)
    assert asyncio.run(spool.read(0, 100)) == PREAMBLE + b"one\n"


def test_bytes_beyond_the_wanted_offset_are_refused_and_repeated_ones_skipped(durable: DurableLog):
    writer, _ = durable.writer()
    assert writer.take(MAIN, "", 3, b"def") == 0
    assert writer.take(MAIN, "", 0, b"abc") == 3
    assert writer.take(MAIN, "", 1, b"bcdef\n") == 7
    assert written(durable) == PREAMBLE + b"abcdef\n"


def test_the_number_of_streams_is_limited(durable: DurableLog):
    writer, _ = durable.writer()
    for number in range(MAX_STREAMS):
        writer.take((1, f"s{number}"), "", writer.wanted((1, f"s{number}"), ""), b"x")
    assert writer.wanted((1, "s0"), "") == 1
    with pytest.raises(ConflictError, match="200 streams"):
        writer.wanted((1, "one more"), "")


def test_branches_are_written_in_whole_lines_with_their_names(durable: DurableLog):
    writer, _ = durable.writer()
    send(writer, MAIN, b"dots..")
    writer.idle()
    send(writer, LEFT, b"l1\nl")
    send(writer, RIGHT, b"r1\n")
    writer.idle()
    send(writer, LEFT, b"l1\nl2\nend")
    send(writer, MAIN, b"dots.. more\n")
    writer.finish()
    assert written(durable) == PREAMBLE + b"dots..\n[left] l1\n[right] r1\n[left] l2\n more\n[left] end"


def test_a_second_attempt_begins_on_a_new_line(durable: DurableLog):
    writer, _ = durable.writer()
    writer.take((1, "main"), "", 0, b"first att")
    writer.idle()
    writer.take((7, "main"), "", 0, b"second\n")
    assert written(durable) == PREAMBLE + b"first att\nsecond\n"


RAW = {
    MAIN: b"a s3cret-value\r\nb\rc\n\xffd s3cret",
    LEFT: b"left 1\nleft 22\nleft",
    RIGHT: b"r\n" * 9 + b"s3cret-value",
}
Step = tuple[tuple[int, str], int] | str
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(list(RAW)), st.integers(1, 40)),
        st.sampled_from(["idle", "commit", "crash", "lose the spool", "lose its end", "keep", "keep bytes only"]),
    ),
    max_size=30,
)


def play(durable: DurableLog, steps: list[Step]) -> bytes:
    """Play the steps, then let every supervisor send all wanted bytes; returns the final log."""
    writer, spool = durable.writer()
    shown = b""
    sent = dict.fromkeys(RAW, 0)
    for step in steps:
        if isinstance(step, tuple):
            key, size = step
            offset = writer.wanted(key, BRANCHES[key])
            writer.take(key, BRANCHES[key], offset, RAW[key][offset : offset + size])
            sent[key] = max(sent[key], writer.wanted(key, BRANCHES[key]))
        elif step == "idle":
            writer.idle()
        elif step == "commit":
            durable.commit(writer, spool)
            now = written(durable)[: spool.size_bytes]
            assert now[: len(shown)] == shown[: len(now)]
            shown = max(shown, now, key=len)
        elif step in {"keep", "keep bytes only"}:
            durable.keep(spool, with_checkpoint=step == "keep")
            writer.begin_segment()
        else:
            if step == "lose the spool":
                durable.path.unlink()
            elif step == "lose its end":
                durable.path.write_bytes(written(durable)[: len(written(durable)) // 2])
            writer, spool = durable.writer()
    for _ in range(2 * sum(map(len, RAW.values()))):
        for key, raw in RAW.items():
            send(writer, key, raw)
            if writer.wanted(key, BRANCHES[key]) == len(raw):
                writer.finish_stream(key, BRANCHES[key])
    assert not writer.replaying
    assert not writer.ending([])
    writer.finish()
    durable.commit(writer, spool)
    whole = written(durable)
    assert whole[: len(shown)] == shown
    return whole


@given(STEPS)
def test_no_crash_changes_a_byte_that_was_shown(tmp_path_factory: pytest.TempPathFactory, steps: list[Step]):
    durable = DurableLog(tmp_path_factory.mktemp("log") / "log")
    whole = play(durable, steps)
    durable.path.unlink()
    assert play(durable, []) == whole


def test_lost_log_is_wanted_again_only_after_its_pieces(durable: DurableLog):
    """A branch that ended before need not send its bytes again, and the recorded order continues."""
    writer, spool = durable.writer()
    for key, raw in ((MAIN, b"one\n"), (LEFT, b"left\n")):
        send(writer, key, raw)
    writer.finish_stream(LEFT, "left")
    durable.commit(writer, spool)
    durable.keep(spool, with_checkpoint=True)
    for key, raw in ((MAIN, b"one\ntwo\n"), (RIGHT, b"right\n"), (MAIN, b"one\ntwo\nthree\n")):
        send(writer, key, raw)
    durable.commit(writer, spool)
    before = written(durable)
    durable.path.unlink()
    again, spool = durable.writer()
    again.give_up(LEFT[0])
    assert [again.wanted(key, BRANCHES[key]) for key in (MAIN, LEFT, RIGHT)] == [4, 5, 0]
    again.take(MAIN, "", 4, b"two\nthree\n")
    assert again.replaying
    again.take(RIGHT, "right", 0, b"right\n")
    assert not again.replaying
    assert again.ending([]) == b""
    assert written(durable) == before == PREAMBLE + b"one\n[left] left\ntwo\n[right] right\nthree\n"


def test_changed_copy_is_found_although_the_replay_begins_in_the_middle(durable: DurableLog):
    writer, spool = durable.writer()
    send(writer, MAIN, b"one\n")
    durable.commit(writer, spool)
    durable.keep(spool, with_checkpoint=True)
    writer.begin_segment()
    send(writer, MAIN, b"one\nthe truth\n")
    durable.commit(writer, spool)
    durable.path.unlink()
    again, _ = durable.writer()
    again.take(MAIN, "", 4, b"the lies!\n")
    assert again.ending([]) == CHANGED


def test_bytes_of_the_spool_take_precedence_over_a_changed_copy(durable: DurableLog):
    writer, spool = durable.writer()
    send(writer, MAIN, b"the truth\nand the rest\n")
    durable.commit(writer, spool)
    durable.path.write_bytes(written(durable)[: len(PREAMBLE) + 10])
    again, _ = durable.writer()
    send(again, MAIN, b"the lies!\nand the rest\n")
    assert written(durable) == PREAMBLE + b"the truth\nand the rest\n"
    assert b"was changed" in again.ending([])


def test_a_changed_copy_is_reported_in_the_log(durable: DurableLog):
    writer, spool = durable.writer()
    send(writer, MAIN, b"the truth\n")
    durable.commit(writer, spool)
    durable.path.unlink()
    again, spool = durable.writer()
    send(again, MAIN, b"the lies!\n")
    assert again.ending([]) == CHANGED
    durable.commit(again, spool)
    assert durable.writer()[0].ending([]) == CHANGED, "the notice is kept after a restart"


def test_bytes_of_the_spool_are_kept_if_no_agent_sends_them_again(durable: DurableLog):
    writer, spool = durable.writer()
    send(writer, MAIN, b"one\ntwo\nthree")
    writer.idle()
    durable.commit(writer, spool)
    durable.path.write_bytes(written(durable)[:-2])
    again, _ = durable.writer()
    again.finish()
    assert written(durable) == PREAMBLE + b"one\ntwo\nthr"
    assert again.ending(["-----> Gone.\n"]) == b"\n" + LOST + b"-----> Gone.\n"


def test_a_replay_does_not_wait_for_bytes_that_cannot_be_sent_again(durable: DurableLog):
    writer, spool = durable.writer()
    for key, raw in ((MAIN, b"one\n"), (LEFT, b"gone\n"), (MAIN, b"one\ntwo\n")):
        send(writer, key, raw)
    durable.commit(writer, spool)
    durable.path.unlink()
    again, _ = durable.writer()
    again.take(MAIN, "", 0, b"one\ntwo\n")
    assert again.replaying
    again.give_up(LEFT[0])
    assert not again.replaying
    assert written(durable) == PREAMBLE + b"one\ntwo\n"
    assert again.ending([]) == LOST
    durable.commit(again, spool)
    assert durable.writer()[0].ending([]) == LOST, "the notice is kept after a restart"


def test_the_number_of_segments_of_alternating_streams_is_limited(durable: DurableLog, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("shuttle.logs.recorder._MAX_SEGMENTS", 3)
    raw = {key: b"".join(b"%d\n" % number for number in range(5)) for key in (LEFT, RIGHT)}

    def alternate() -> None:
        writer, spool = durable.writer()
        for number in range(5):
            for key in (LEFT, RIGHT):
                writer.take(key, BRANCHES[key], 2 * number, raw[key][2 * number : 2 * number + 2])
            durable.commit(writer, spool)
        writer.finish()
        assert writer.ending([]) == b""

    alternate()
    assert list(durable.segments) == [1, 2, 3]
    whole = written(durable)
    durable.path.unlink()
    alternate()
    assert sorted(written(durable).splitlines()) == sorted(whole.splitlines()), "only the order is lost"


def test_no_segments_are_recorded_after_the_byte_cap(durable: DurableLog):
    writer, spool = durable.writer()
    send(writer, LEFT, b"x" * 99 + b"\n", size=100)
    for number in range(1, 2000):
        writer.take(MAIN, "", 100 * (number - 1), b"x" * 99 + b"\n")
        writer.take(LEFT, "left", 100 * number, b"x" * 99 + b"\n")
    durable.commit(writer, spool)
    assert len(written(durable)) <= RULES.max_log_bytes
    assert len(durable.segments) < 1000
