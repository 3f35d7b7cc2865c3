"""Archives that exceed the limits, are damaged, or are not archives."""

import os
import stat
import tarfile

import pytest

from shuttle.sources import SourceLimits
from tests.support.archives import (
    MIB,
    SMALL_LIMITS,
    contents,
    entry,
    extended_header,
    folder,
    gzipped,
    hardlink,
    packed_sparse,
    record,
    symlink,
    tar,
    tar_gz,
    unix,
    zipped,
)


async def test_too_many_entries_are_refused(normalized, refusal):
    many = [entry(f"d/{number}", b"") for number in range(51)]
    assert await refusal(tar_gz(*many)) == "archive_too_large"
    assert await refusal(zipped(*((f"d/{number}", b"") for number in range(51)))) == "archive_too_large"
    assert len(contents(await normalized(tar_gz(*many[:50])))) == 50


async def test_directories_without_an_entry_count_as_entries(refusal):
    assert await refusal(tar_gz(entry("/".join("d" * 200), b"1"), entry("x"))) == "archive_too_large"


async def test_more_bytes_than_allowed_are_refused(normalized, refusal):
    noise = os.urandom(MIB)
    limits = SourceLimits(max_source_bytes=1, max_expanded_bytes=MIB)
    assert await refusal(tar(entry("a", noise), entry("b", b"1")), limits=limits) == "archive_too_large"
    assert await refusal(zipped(("a", noise), ("b", b"1")), limits=limits) == "archive_too_large"
    assert contents(await normalized(tar(entry("a", noise)), limits=limits))["a"] == noise


async def test_bombs_are_refused(refusal):
    """Zeros in a file, after the end mark, in many files, and a declared size: none is expanded completely."""
    zeros = bytes(20 * MIB)
    assert await refusal(tar_gz(entry("a", zeros))) == "archive_bomb"
    assert await refusal(gzipped(tar(entry("a", b"1")) + zeros, 1)) == "archive_bomb"
    assert await refusal(zipped(("a", zeros))) == "archive_bomb"
    assert await refusal(zipped(*((f"{number}", zeros[:MIB]) for number in range(20)))) == "archive_bomb"
    # a declared size without any data
    header = entry("a")[0]
    header.size = 1 << 60
    assert await refusal(gzipped(header.tobuf(tarfile.GNU_FORMAT))) == "archive_bomb"


@pytest.mark.parametrize("pack", [lambda content: tar_gz(entry("a", content)), lambda content: zipped(("a", content))])
async def test_content_up_to_the_size_from_which_the_ratio_counts_is_accepted(normalized, refusal, pack):
    most_bytes = SMALL_LIMITS.ratio_from_bytes
    assert await refusal(pack(bytes(most_bytes + 1))) == "archive_bomb"
    assert contents(await normalized(pack(bytes(most_bytes)))) == {"a": bytes(most_bytes)}


async def test_target_of_a_link_may_be_as_long_as_a_path(normalized, refusal):
    assert await refusal(tar_gz(entry("x"), symlink("l", "t" * 4096))) == "archive_too_large"
    assert await refusal(zipped((unix("l", stat.S_IFLNK | 0o777), b"t" * 4096))) == "archive_too_large"
    assert contents(await normalized(tar_gz(entry("x"), symlink("l", "t" * 4095))))["l"] == "-> " + "t" * 4095


async def test_sparse_file_of_a_terabyte_is_refused(refusal, tmp_path):
    assert await refusal(packed_sparse(tmp_path, 1 << 40)) == "archive_bomb"


def old_sparse(size_bytes):
    """A tar with one sparse file in the old format of GNU tar, of that many bytes when it is expanded."""
    block = bytearray(entry("a", type=tarfile.GNUTYPE_SPARSE)[0].tobuf(tarfile.GNU_FORMAT))
    block[483:495] = (size_bytes % 256**12).to_bytes(12, "big")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize(
    "first",
    [
        tar(entry("a", pax_headers={"GNU.sparse.realsize": str(-(10**15))})),
        tar(entry("a", pax_headers={"GNU.sparse.size": str(-(10**15))})),
        extended_header(record(b"size", b"-511")),
        tar(entry("b", b"1"), pax_headers={"size": "-511"}),
        old_sparse(-(10**15)),
        entry("a", size=-511)[0].tobuf(tarfile.GNU_FORMAT),
    ],
    ids=["real size", "sparse size", "size", "size of all entries", "old sparse size", "size of the header"],
)
async def test_a_negative_size_is_refused(refusal, first):
    """Before, it was subtracted from what the other entries expand to; a hard link of its name replaced the file."""
    zeros = entry("big", pax_headers={"GNU.sparse.size": "1", "GNU.sparse.realsize": str(60 * MIB)})
    others = tar(zeros, hardlink("a", "big"))
    assert await refusal(first.rstrip(b"\0") + bytes(-len(first.rstrip(b"\0")) % 512) + others) == "archive_truncated"


async def test_small_archive_that_compresses_well_is_accepted(normalized):
    assert contents(await normalized(tar_gz(entry("a", bytes(3 * MIB)))))["a"] == bytes(3 * MIB)


@pytest.mark.parametrize(
    "original",
    [b"", gzipped(b""), tar(), tar_gz(), zipped(), tar_gz(folder("only")), zipped(("only/", b""))],
)
async def test_archives_without_files_are_refused(refusal, original):
    assert await refusal(original) == "archive_empty"


@pytest.mark.parametrize(
    "original",
    [
        *(b"x", b"hello\n" * 500, b"<html>not found</html>", bytes(100), gzipped(b"hello\n" * 500)),
        gzipped(gzipped(gzipped(tar(entry("a", b"1"))))),
        *(b"BZh91AY&SY", b"\xfd7zXZ\x00\x00", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07\x00", b"\x28\xb5\x2f\xfd"),
        gzipped(zipped(("a", b"1"))),
    ],
)
async def test_other_files_are_refused_as_unknown(refusal, original):
    assert await refusal(original) == "archive_unknown"


async def test_truncated_archives_are_refused(refusal):
    noise = os.urandom(5000)
    for whole in (tar(entry("a", noise), entry("b", noise)), tar_gz(entry("a", noise)), zipped(("a", noise))):
        for end in (len(whole) // 3, len(whole) - 700 if whole[:2] == b"PK" else len(whole) // 2):
            assert await refusal(whole[:end]) == "archive_truncated"
    # between two entries, where only the missing end mark shows it
    assert await refusal(tar(entry("a", b"1"), entry("b", b"2"))[:1024]) == "archive_truncated"
    # the last bytes of the gzip: its checksum
    assert await refusal(tar_gz(entry("a", noise))[:-4]) == "archive_truncated"


async def test_damaged_archives_are_refused(refusal):
    noise = os.urandom(5000)
    for whole, at in (
        (tar_gz(entry("a", noise)), 3000),
        (zipped(("a", noise)), 3000),
        (tar(entry("a"), entry("b")), 600),
    ):
        damaged = bytearray(whole)
        damaged[at] ^= 0xFF
        assert await refusal(bytes(damaged)) == "archive_truncated"


async def test_zip_with_a_wrong_directory_offset_is_refused(refusal):
    moved = bytearray(zipped(("a", b"1"), ("b", b"2")))
    offset_field = moved.rindex(b"PK\x05\x06") + 16  # of the central directory, in the end record
    moved[offset_field] += 5
    assert await refusal(bytes(moved)) == "archive_truncated"


async def test_encrypted_zip_is_refused(refusal):
    locked = zipped(("a", b"secret")).replace(b"\x14\x00\x00\x00\x08\x00", b"\x14\x00\x01\x00\x08\x00")
    assert await refusal(locked) == "archive_encrypted"


async def test_unsupported_zip_method_is_refused(refusal):
    odd = zipped(("a", b"1" * 100)).replace(b"\x14\x00\x00\x00\x08\x00", b"\x14\x00\x00\x00\x63\x00")
    assert await refusal(odd) == "archive_unknown"


@pytest.mark.parametrize(
    ("original", "reason"),
    [
        (gzipped(extended_header(b"x" * 3 * MIB)), "archive_too_large"),
        (extended_header(record(b"GNU.sparse.size", b"9x")), "archive_truncated"),
        (extended_header(record(b"GNU.sparse.major", b"1") + record(b"GNU.sparse.minor", b"0")), "archive_truncated"),
        (extended_header(record(b"size", b"999999999")), "archive_bomb"),
        (extended_header(record(b"size", b"-9")), "archive_truncated"),
        (extended_header(record(b"path", b"\x00a")), "archive_truncated"),
        (extended_header(record(b"path", b"../a")), "archive_path_escapes"),
        (extended_header(record(b"mtime", b"1e99")), None),
        (extended_header(record(b"mtime", b"inf")), "archive_truncated"),
        (extended_header(b"0 a=b\n"), "archive_truncated"),
        (extended_header(record(b"comment", b"x")), None),
    ],
)
async def test_invalid_extended_headers_are_refused(normalized, refusal, original, reason):
    if reason is None:
        assert contents(await normalized(original)) == {"a": b"1"}
    else:
        assert await refusal(original) == reason


async def test_endless_extended_headers_are_refused(refusal):
    one = extended_header(record(b"comment", b"x"))[:1024]
    assert await refusal(gzipped(one * 3000)) in {"archive_truncated", "archive_bomb"}


async def test_names_longer_than_a_file_system_allows_are_refused(refusal):
    assert await refusal(tar_gz(entry("n" * 256, b"1"))) == "archive_too_large"
    assert (
        await refusal(tar_gz(entry("/".join(["n" * 127] * 31 + ["m" * 128]), b"1"), entry("b"))) == "archive_too_large"
    )


async def test_longest_names_of_a_file_system_are_accepted(normalized):
    names = {"n" * 255, "/".join(["n" * 127] * 32)}
    original = tar_gz(*(entry(f"./{name}", b"1") for name in names))
    path = await normalized(original, SourceLimits(max_source_bytes=1, max_expanded_bytes=MIB))
    assert set(contents(path)) == names
