"""Headers of small archives: some were searched or copied for minutes; the limits that prevent that."""

import struct
import tarfile
import zipfile
import zlib

import pytest

from shuttle.sources import SourceLimits
from tests.support.archives import MIB, contents, entry, extended_header, gzipped, record, tar, zipped

MANY = 20_000
MANY_ENTRIES = SourceLimits(max_source_bytes=1, max_expanded_bytes=64 * MIB)


def global_header(records, *, entries=0):
    """A tar with a header that applies to all its entries: `entries` empty files `f`, and a file `a`."""
    header = tarfile.TarInfo("g")
    header.type, header.size = tarfile.XGLTYPE, len(records)
    empty = tarfile.TarInfo("f").tobuf(tarfile.USTAR_FORMAT)
    end = tar(entry("a", b"1"))
    return gzipped(header.tobuf(tarfile.USTAR_FORMAT) + records + bytes(-len(records) % 512) + empty * entries + end)


async def test_long_number_in_an_extended_header_is_read_at_once(normalized):
    original = gzipped(extended_header(record(b"comment", b"1" * 1_000_000)))
    assert contents(await normalized(original)) == {"a": b"1"}


@pytest.mark.slow
async def test_large_header_of_all_entries_is_not_copied_for_each(normalized):
    records = b"".join(record(b"k%d" % number, b"v") for number in range(80_000))
    original = global_header(records, entries=MANY)
    assert contents(await normalized(original, MANY_ENTRIES)) == {"a": b"1", "f": b""}


@pytest.mark.parametrize("name", [b"path", b"linkpath", b"mtime"])
async def test_long_value_in_a_header_of_all_entries_is_refused(refusal, name):
    long_value = b"./" * 500_000 + b"f"
    original = global_header(record(name, long_value), entries=MANY)
    assert await refusal(original, limits=MANY_ENTRIES) == "archive_too_large"


@pytest.mark.slow
async def test_sparse_fields_in_a_header_of_all_entries_are_ignored(normalized):
    records = record(b"GNU.sparse.map", b",".join([b"0"] * 500_000)) + record(b"GNU.sparse.size", b"0")
    own = extended_header(record(b"comment", b"x"))[:1024]
    header = tarfile.TarInfo("g")
    header.type, header.size = tarfile.XGLTYPE, len(records)
    start = header.tobuf(tarfile.USTAR_FORMAT) + records + bytes(-len(records) % 512)
    file = own + tarfile.TarInfo("f").tobuf(tarfile.USTAR_FORMAT)
    original = gzipped(start + file * 4000 + tar(entry("a", b"1")))
    assert contents(await normalized(original, MANY_ENTRIES)) == {"a": b"1", "f": b""}


async def test_time_in_a_header_of_all_entries_is_used(normalized):
    original = global_header(record(b"comment", b"c" * 52) + record(b"mtime", b"1700000000.5"))
    with tarfile.open(await normalized(original)) as archive:
        assert [(member.name, member.mtime) for member in archive] == [("a", 1_700_000_000)]


@pytest.mark.parametrize(
    "records",
    [
        b"9 a=b\n",  # longer than the header
        b"6 a=bc\n",  # its length ends before its line
        b"6 abc\n",
        b"5 =b\n",
        b"x a=b\n",
        b" a=b\n",
        b"1" * 100 + b" a=b\n",
    ],
)
async def test_malformed_records_of_an_extended_header_are_refused(refusal, records):
    assert await refusal(extended_header(records)) == "archive_truncated"


async def test_path_may_be_twice_as_long_before_its_dots_are_removed(normalized, refusal):
    assert await refusal(gzipped(tar(entry("./" * 4095 + "a", b"1")))) == "archive_too_large"
    assert await refusal(zipped(("./" * 4095 + "a", b"1"))) == "archive_too_large"
    assert contents(await normalized(gzipped(tar(entry("./" * 4094 + "aa", b"1"))))) == {"aa": b"1"}


def overlapping(count):
    """A zip of `count` entries with the same bytes, which decompress to 1 byte."""
    packer = zlib.compressobj(wbits=-15)
    nothing = b"\0\0\0\xff\xff"  # a block of deflate without content
    packed = nothing * 100_000 + packer.compress(b"1") + packer.flush()
    facts = struct.pack("<3HLLLL2H", 8, 0, 0x21, zlib.crc32(b"1"), len(packed), 1, 0, 0, 0)[:18]
    local = b"PK\3\4" + struct.pack("<2H", 20, 0) + facts + struct.pack("<2H", 1, 0) + b"a" + packed
    listed = b"PK\1\2" + struct.pack("<3H", 0x314, 20, 0) + facts + struct.pack("<5H2L", 1, 0, 0, 0, 0, 0, 0) + b"a"
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, count * len(listed), len(local), 0)
    return local + listed * count + end


async def test_zip_whose_entries_share_their_bytes_is_refused(normalized, refusal):
    assert await refusal(overlapping(2)) == "archive_truncated"
    assert contents(await normalized(overlapping(1))) == {"a": b"1"}


@pytest.mark.slow
async def test_zip_with_many_small_extra_fields_is_read(normalized):
    entries = []
    for number in range(20):
        info = zipfile.ZipInfo(f"{number}")
        info.extra = b"\x99\x99\0\0" * 16_000
        entries.append((info, b"1"))
    assert len(contents(await normalized(zipped(*entries)))) == 20
