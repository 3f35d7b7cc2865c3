"""Generated archives: accepted ones unpack inside the target directory, damaged ones are refused."""

import io
import tarfile
import tempfile
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from shuttle.unpack.entries import Budget, RefusedError
from shuttle.unpack.program import repack
from tests.support.archives import entry, folder, hardlink, symlink, tar, tar_gz, zipped

REASONS = {
    *("archive_path_escapes", "archive_link_escapes", "archive_special_file", "archive_conflict", "archive_too_large"),
    *("archive_bomb", "archive_empty", "archive_truncated", "archive_encrypted", "archive_unknown"),
}

# Calls the function of the process directly: a process for each of thousands of examples would take too long.

parts = st.sampled_from(["a", "b", "c", "..", ".", ""])
paths = st.lists(parts, min_size=1, max_size=4).map("/".join)
entries = st.lists(
    st.one_of(
        st.builds(entry, paths, st.binary(max_size=5)),
        st.builds(folder, paths),
        st.builds(symlink, paths, st.one_of(paths, st.sampled_from(["/", "../../..", "/nowhere/at/all"]))),
        st.builds(hardlink, paths, paths),
    ),
    min_size=1,
    max_size=8,
)


def repacked(original: bytes, max_entries: int = 100) -> bytes | None:
    """The normalized archive; None = it was refused with one of REASONS."""
    with tempfile.TemporaryDirectory() as directory:
        source, result = Path(directory, "original"), Path(directory, "normalized")
        source.write_bytes(original)
        try:
            repack(source, result, Budget(len(original), 10_000_000, 200, 1_000_000, max_entries))
        except RefusedError as refusal:
            reason = refusal.reason
        else:
            return result.read_bytes()
    assert reason in REASONS
    return None


@given(entries=entries)
@example(entries=[symlink("a", ".."), entry("a/b", b"x")])
@example(entries=[symlink("a/b", "c/../.."), symlink("a/c", "."), entry("b", b"x")])
def test_accepted_archive_unpacks_inside_the_target_directory(entries):
    """Unpacked by a naive program, which writes through links."""
    result = repacked(tar_gz(*entries))
    if result is None:
        return
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory, "one", "two", "three").resolve()
        root.mkdir(parents=True)
        with tarfile.open(fileobj=io.BytesIO(result)) as archive:
            archive.extractall(root, filter="fully_trusted")
        assert [path.name for path in Path(directory).iterdir()] == ["one"]
        assert [path.name for path in Path(directory, "one").iterdir()] == ["two"]
        assert [path.name for path in Path(directory, "one", "two").iterdir()] == ["three"]


@given(entries=entries)
def test_normalizing_is_repeatable(entries):
    """Normalizing again gives the same bytes, and a normalized archive can be normalized."""
    original = tar(*entries)
    result = repacked(original)
    assert repacked(original) == result
    if result is not None:
        assert repacked(result) is not None


SAMPLES = [
    tar(entry("a/b", b"1" * 600), symlink("a/l", "b"), hardlink("a/h", "a/b"), entry("ä" * 80, b"2")),
    tar(entry("n" * 90 + "/" + "m" * 90, b"1"), tar_format=tarfile.GNU_FORMAT),
    tar_gz(entry("a/b", b"1" * 600), folder("c"), entry("d", b"2")),
    zipped(("a/b", b"1" * 600), ("c/", b""), ("d", b"2")),
]


@given(
    sample=st.sampled_from(SAMPLES),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6),
    end=st.floats(0, 1),
)
def test_damaged_archive_is_refused_or_normalized(sample, changes, end):
    damaged = bytearray(sample[: len(sample) if end > 0.5 else int(len(sample) * 2 * end)])
    for where, value in changes:
        if damaged:
            damaged[int(where * len(damaged))] = value
    repacked(bytes(damaged))


@given(
    content=st.binary(max_size=2000), start=st.sampled_from([b"", b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b\x08\x00"])
)
def test_random_bytes_are_refused(start, content):
    repacked(start + content)
