"""Recording segments: their digests cover all bytes even if commits fail."""

import hashlib

from blake3 import blake3

from shuttle.logs import Segment
from shuttle.logs.recorder import SegmentRecorder
from shuttle.logs.replay import Replay

MAIN = (1, "main")
LEFT = (2, "main")


def digest(raw: bytes) -> str:
    return f"blake3:{blake3(raw).hexdigest()}"


def test_the_digest_of_a_segment_that_grew_during_a_failed_commit_covers_all_its_bytes():
    recorder = SegmentRecorder(())
    recorder.grow(MAIN, 0, b"one")
    failing = recorder.changes()
    recorder.grow(MAIN, 3, b"two")
    recorder.restore(failing)
    [segment] = recorder.changes()
    assert (segment.raw_stop, segment.raw_digest) == (6, digest(b"onetwo"))


def test_segments_of_a_failed_commit_are_returned_again():
    recorder = SegmentRecorder(())
    recorder.grow(MAIN, 0, b"one")
    failing = recorder.changes()
    recorder.grow(LEFT, 0, b"left")
    recorder.restore(failing)
    recorder.grow(MAIN, 3, b"two")
    sums = [segment.raw_digest for segment in recorder.changes()]
    assert sums == [digest(b"one"), digest(b"left"), digest(b"two")]


def test_repeated_bytes_are_compared_with_digests_of_all_versions():
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
