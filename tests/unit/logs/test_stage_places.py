"""The places of stages in a log depend on the raw bytes and on the recorded order alone."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shuttle.logs.stage_places import StageMark
from shuttle.logs.writer import LogWriter
from tests.unit.logs.durable_log import BRANCHES, LEFT, MAIN, RIGHT, DurableLog, send, written


@pytest.fixture
def durable(tmp_path: Path) -> DurableLog:
    return DurableLog(tmp_path / "log")


def slices(durable: DurableLog) -> dict[int, bytes]:
    """The part of the log between the beginning and the end of each stage, by its position."""
    whole = written(durable)
    return {
        position: whole[start : durable.places[position, True]]
        for (position, is_end), start in durable.places.items()
        if not is_end and (position, True) in durable.places
    }


def begin(position: int, raw_offset: int) -> StageMark:
    return StageMark(raw_offset, is_end=False, position=position)


def end(position: int, raw_offset: int) -> StageMark:
    return StageMark(raw_offset, is_end=True, position=position)


@pytest.mark.parametrize(
    ("raw", "boundary", "first", "second"),
    [
        (b"one\ntwo\n", 4, b"one\n", b"two\n"),
        (b"one\r\ntwo\r\n", 5, b"one\n", b"two\n"),
        (b"s3cret-value\n\xff\n", 13, b"[secret]\n", "\ufffd\n".encode()),
        (b"s3cret\n-value\n", 7, b"s3cret\n", b"-value\n"),
        (b"one\ntwo\n", 0, b"", b"one\ntwo\n"),
        (b"one\ntwo\n", 8, b"one\ntwo\n", b""),
        (b"one and\ntwo\n", 3, b"one and\n", b"two\n"),
        (b"one\r\ntwo\n", 4, b"one\n", b"two\n"),
        (b"one", 3, b"one", b""),
        (b"one\n", 99, b"one\n", b""),
        (
            b"x" * 250 + b"\ny\n",
            251,
            b"x" * 200 + b" [line cut here: it is longer than SHUTTLE_MAX_LINE_BYTES]\n",
            b"y\n",
        ),
        (b"", 0, b"", b""),
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_stage_has_whole_lines(
    durable: DurableLog, raw: bytes, boundary: int, first: bytes, second: bytes, size: int
):
    writer, spool = durable.writer()
    for mark in (begin(1, 0), end(1, boundary), begin(2, boundary)):
        durable.mark(writer, MAIN, mark)
    send(writer, MAIN, raw, size)
    writer.finish_stream(MAIN, "")
    durable.commit(writer, spool)
    assert slices(durable) == {1: first, 2: second}


def test_a_stage_without_an_end_ends_with_its_stream(durable: DurableLog):
    writer, spool = durable.writer()
    durable.mark(writer, LEFT, begin(1, 0))
    send(writer, LEFT, b"left\nunfinished")
    writer.finish_stream(LEFT, "left")
    send(writer, RIGHT, b"right\n")
    writer.finish()
    durable.commit(writer, spool)
    assert slices(durable) == {1: b"[left] left\n[left] unfinished"}


def test_a_beginning_reported_after_the_bytes_that_follow_it_has_no_place(durable: DurableLog):
    writer, spool = durable.writer()
    send(writer, MAIN, b"one\ntwo\nthr")
    durable.mark(writer, MAIN, begin(2, 8))
    durable.mark(writer, MAIN, begin(3, 9))
    send(writer, MAIN, b"one\ntwo\nthree\n")
    durable.mark(writer, MAIN, end(3, 14))
    durable.commit(writer, spool)
    assert slices(durable) == {3: b""}
    assert (2, False) not in durable.places


def test_an_end_reported_after_the_bytes_that_follow_it_counts_from_then_on(durable: DurableLog):
    writer, spool = durable.writer()
    durable.mark(writer, MAIN, begin(1, 0))
    send(writer, MAIN, b"one\ntwo\nthr")
    durable.mark(writer, MAIN, end(1, 4))
    durable.mark(writer, MAIN, begin(2, 11))
    send(writer, MAIN, b"one\ntwo\nthree\nfour\n")
    durable.commit(writer, spool)
    writer, spool = durable.writer()
    send(writer, MAIN, b"one\ntwo\nthree\nfour\nfive\n")
    writer.finish()
    durable.commit(writer, spool)
    assert slices(durable) == {1: b"one\ntwo\n", 2: b"four\nfive\n"}


def test_a_stage_begins_after_the_unfinished_line_of_another_stream(durable: DurableLog):
    writer, spool = durable.writer()
    send(writer, MAIN, b"dots..")
    writer.idle()
    durable.mark(writer, LEFT, begin(1, 0))
    send(writer, LEFT, b"left\n")
    durable.mark(writer, LEFT, end(1, 5))
    durable.commit(writer, spool)
    assert slices(durable) == {1: b"[left] left\n"}


def test_a_boundary_stays_before_the_lines_that_other_streams_print_after_a_restart(durable: DurableLog):
    writer, spool = durable.writer()
    durable.mark(writer, LEFT, begin(1, 0))
    send(writer, LEFT, b"l\n")
    durable.commit(writer, spool)
    writer, spool = durable.writer()
    send(writer, RIGHT, b"r\n")
    durable.mark(writer, LEFT, end(1, 2))
    durable.mark(writer, LEFT, begin(2, 2))
    send(writer, LEFT, b"l\nm\n")
    writer.finish()
    durable.commit(writer, spool)
    assert slices(durable) == {1: b"[left] l\n", 2: b"[right] r\n[left] m\n"}


def test_a_boundary_within_a_line_is_kept_over_a_restart_in_that_line(durable: DurableLog):
    writer, spool = durable.writer()
    durable.mark(writer, MAIN, begin(1, 0))
    send(writer, MAIN, b"one")
    durable.mark(writer, MAIN, end(1, 3))
    durable.mark(writer, MAIN, begin(2, 3))
    send(writer, MAIN, b"one and")
    writer.idle()
    durable.commit(writer, spool)
    writer, spool = durable.writer()
    send(writer, MAIN, b"one and\ntwo\n")
    writer.finish()
    durable.commit(writer, spool)
    assert slices(durable) == {1: b"one and\n", 2: b"two\n"}


# Every stage has the lines of its own number.
STAGES = {
    MAIN: (b"", b"1 a\n1 b\r\n", b"2 s3cret-value\n2 b\n", b"3 a\n3 unfinished"),
    LEFT: (b"4 a\n4 b\n", b"", b"6 a\n6 b\n"),
    RIGHT: (b"7 s3cret-value\n7 b\n", b"8 a\n8 b\n8 c"),
}
RAW = {key: b"".join(stages) for key, stages in STAGES.items()}
MARKS: dict[tuple[int, str], list[StageMark]] = {}
TEXTS: dict[int, tuple[tuple[int, str], bytes]] = {}
for _key, _stages in STAGES.items():
    _at, _marks = 0, []
    for _raw in _stages:
        _position = len(TEXTS)
        TEXTS[_position] = _key, _raw.replace(b"\r", b"").replace(b"s3cret-value", b"[secret]")
        _marks += [begin(_position, _at), end(_position, _at + len(_raw))]
        _at += len(_raw)
    MARKS[_key] = _marks

Step = tuple[tuple[int, str], int] | str
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(list(RAW)), st.integers(1, 20)),
        st.sampled_from(["idle", "commit", "crash", "lose the spool", "lose its end", "keep"]),
    ),
    max_size=30,
)


def push(durable: DurableLog, writer: LogWriter, key: tuple[int, str], size: int) -> None:
    """Push like a supervisor: what lies behind a boundary is not pushed before the boundary is reported."""
    known = [mark for marked, mark in durable.marks if marked == key]
    offset = writer.wanted(key, BRANCHES[key])
    for mark in MARKS[key]:
        if mark not in known and mark.raw_offset <= offset:
            durable.mark(writer, key, mark)
            known.append(mark)
    stop = min([offset + size, *(mark.raw_offset for mark in MARKS[key] if mark not in known)])
    writer.take(key, BRANCHES[key], offset, RAW[key][offset:stop])


def play(durable: DurableLog, steps: list[Step]) -> None:
    """Play the steps, then let every supervisor send all wanted bytes."""
    writer, spool = durable.writer()
    for step in steps:
        if isinstance(step, tuple):
            push(durable, writer, *step)
        elif step == "idle":
            writer.idle()
        elif step == "commit":
            durable.commit(writer, spool)
        elif step == "keep":
            durable.keep(spool, with_checkpoint=True)
            writer.begin_segment()
        else:
            if step == "lose the spool":
                durable.path.unlink()
            elif step == "lose its end":
                durable.path.write_bytes(written(durable)[: len(written(durable)) // 2])
            writer, spool = durable.writer()
    for _ in range(2 * sum(map(len, RAW.values()))):
        for key, raw in RAW.items():
            push(durable, writer, key, 7)
            if writer.wanted(key, BRANCHES[key]) == len(raw) and len(durable.marks) == sum(map(len, MARKS.values())):
                writer.finish_stream(key, BRANCHES[key])
    writer.finish()
    durable.commit(writer, spool)


@given(STEPS)
def test_no_crash_moves_a_stage(tmp_path_factory: pytest.TempPathFactory, steps: list[Step]):
    durable = DurableLog(tmp_path_factory.mktemp("log") / "log")
    play(durable, steps)
    for position, (key, text) in TEXTS.items():
        lines = slices(durable)[position].splitlines()
        if key == MAIN:
            # Lines of branches may stand within an unfinished line of the main stream.
            own = [line for line in lines if not line.startswith((b"[left] ", b"[right] "))]
            assert b"".join(own) == b"".join(text.splitlines())
        else:
            prefix = b"[%s] " % BRANCHES[key].encode()
            assert [line for line in lines if line.startswith(prefix)] == [prefix + line for line in text.splitlines()]
    for key, marks in MARKS.items():
        for one, next_one in pairwise(marks):
            if one.is_end:
                assert durable.places[one.position, True] == durable.places[next_one.position, False], key
    places = dict(durable.places)
    durable.path.unlink()
    play(durable, [])
    assert durable.places == places
