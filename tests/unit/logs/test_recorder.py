"""The record of a log's order: checksums are those of all bytes, whatever commits fail."""

import hashlib

from shuttle.logs.recorder import SegmentRecorder

MAIN = (1, "main")
LEFT = (2, "main")


def sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


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
