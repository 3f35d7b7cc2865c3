"""The record of a log's order: checksums are right whenever and wherever they are computed."""

import asyncio
import hashlib

import pytest

from shuttle.logs import Segment
from shuttle.logs.recorder import SegmentRecorder

MAIN = (1, "main")
LEFT = (2, "main")


def by_position(segments: list[Segment]) -> dict[int, Segment]:
    return {segment.position: segment for segment in segments}


def sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


async def test_sums_that_are_computed_beside_what_arrives_are_those_of_the_bytes():
    recorder = SegmentRecorder(1)
    block, seen, at = bytes(range(256)) * 1024, dict[int, Segment](), 0
    for turn in range(40):
        key = MAIN if turn % 10 < 5 else LEFT
        for _ in range(8):
            recorder.grow(key, at, block)
            at += len(block)
        summing = asyncio.create_task(asyncio.to_thread(recorder.sum_up))
        recorder.grow(key, at, block)
        at += len(block)
        await summing
        seen |= by_position(recorder.changes())
    assert [segment.raw_sha256 for segment in seen.values()] == [sha256(block * 45)] * 8


def test_a_segment_that_grows_while_its_commit_fails_has_the_sum_of_all_its_bytes():
    recorder = SegmentRecorder(1)
    recorder.grow(MAIN, 0, b"one")
    failing = recorder.changes()
    recorder.grow(MAIN, 3, b"two")
    recorder.unsaved(failing)
    [segment] = recorder.changes()
    assert (segment.raw_stop, segment.raw_sha256) == (6, sha256(b"onetwo"))


def test_a_segment_whose_commit_failed_comes_again_as_it_was():
    recorder = SegmentRecorder(1)
    recorder.grow(MAIN, 0, b"one")
    failing = recorder.changes()
    recorder.grow(LEFT, 0, b"left")
    recorder.unsaved(failing)
    recorder.grow(MAIN, 3, b"two")
    sums = [segment.raw_sha256 for segment in recorder.changes()]
    assert sums == [sha256(b"one"), sha256(b"left"), sha256(b"two")]


def test_bytes_that_no_commit_asks_for_do_not_wait_in_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("shuttle.logs.recorder._MOST_UNSUMMED_BYTES", 100)
    recorder = SegmentRecorder(1)
    for at in range(0, 1000, 10):
        recorder.grow(MAIN, at, b"0123456789")
        assert recorder.unsummed_bytes <= 100
    assert [segment.raw_sha256 for segment in recorder.changes()] == [sha256(b"0123456789" * 100)]
