"""The record of a log's order: digests are those of all bytes, whatever commits fail."""

import hashlib

from blake3 import blake3

from shuttle.logs import Segment
from shuttle.logs.recorder import SegmentRecorder
from shuttle.logs.replay import Replay

MAIN = (1, "main")
LEFT = (2, "main")


def digest(raw: bytes) -> str:
    return f"blake3:{blake3(raw).hexdigest()}"


def test_a_segment_that_grows_while_its_commit_fails_has_the_sum_of_all_its_bytes():
    recorder = SegmentRecorder(1)
    recorder.grow(MAIN, 0, b"one")
    failing = recorder.changes()
    recorder.grow(MAIN, 3, b"two")
    recorder.unsaved(failing)
    [segment] = recorder.changes()
    assert (segment.raw_stop, segment.raw_digest) == (6, digest(b"onetwo"))


def test_a_segment_whose_commit_failed_comes_again_as_it_was():
    recorder = SegmentRecorder(1)
    recorder.grow(MAIN, 0, b"one")
    failing = recorder.changes()
    recorder.grow(LEFT, 0, b"left")
    recorder.unsaved(failing)
    recorder.grow(MAIN, 3, b"two")
    sums = [segment.raw_digest for segment in recorder.changes()]
    assert sums == [digest(b"one"), digest(b"left"), digest(b"two")]


def test_bytes_that_are_sent_again_are_compared_with_the_digests_of_this_and_of_earlier_versions():
    old = Segment(1, *MAIN, 0, 3, hashlib.sha256(b"one").hexdigest(), 3)
    new = Segment(2, *MAIN, 3, 6, digest(b"two"), 3)
    replay = Replay([old, new])
    replay.check(MAIN, b"on")
    replay.check(MAIN, b"etwo")
    assert not replay.altered
    for copy in (b"oNetwo", b"onetWo"):
        replay = Replay([old, new])
        replay.check(MAIN, copy)
        assert replay.altered
