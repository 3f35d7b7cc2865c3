"""Archives made by common programs: additions of macOS, Windows and GNU tar, names in old zips, gzips in gzips."""

import io
import os
import struct
import subprocess
import tarfile
import zlib

import pytest

from shuttle.errors import BuildFailedError
from shuttle.sources import SourceLimits
from shuttle.sources.archive import normalize
from tests.support.archives import SMALL_LIMITS, contents, entry, folder, gzipped, hardlink, symlink, tar_gz, zipped


def made_by(*command: str) -> bytes:
    """The output of a program of this machine."""
    return subprocess.run(command, check=True, capture_output=True).stdout


APPLE_DOUBLE = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        "


@pytest.mark.parametrize("pack", [tar_gz, lambda *entries: zipped(*((header.name, text) for header, text in entries))])
async def test_files_added_by_macos_are_left_out(normalized, pack):
    original = pack(
        *(entry("._p", APPLE_DOUBLE), entry(".DS_Store", b"x"), entry("p/a", b"1"), entry("p/._a", APPLE_DOUBLE)),
        *(entry("p/d/._b", b""), entry("p/d/b", b"2"), entry("__MACOSX/._p", b"x"), entry("__MACOSX/p/._a", b"x")),
        # files of the project
        *(entry("p/.DS_Store", b"3"), entry("p/.-", b"4"), entry("p/a._b", b"5"), entry("p/__MACOSX/c", b"6")),
    )
    assert contents(await normalized(original)) == {
        "a": b"1", "d/b": b"2", ".DS_Store": b"3", ".-": b"4", "a._b": b"5", "__MACOSX/c": b"6",
    }  # fmt: skip


async def test_folders_named_like_files_of_macos_are_kept(normalized):
    original = tar_gz(folder("._d"), entry("._d/a", b"1"), folder(".DS_Store"), entry(".DS_Store/a", b"2"))
    assert contents(await normalized(original)) == {
        "._d": "folder",
        "._d/a": b"1",
        ".DS_Store": "folder",
        ".DS_Store/a": b"2",
    }


async def test_files_added_by_macos_do_not_count_as_entries(normalized, refusal):
    limits = SourceLimits(max_source_bytes=1, max_expanded_bytes=SMALL_LIMITS.max_expanded_bytes, max_entries=2)
    companions = [entry(f"._{number}", APPLE_DOUBLE) for number in range(5)]
    files = [entry("a", b"1"), entry("b", b"2")]
    assert await refusal(tar_gz(*companions, *files, entry("c")), limits=limits) == "archive_too_large"
    assert contents(await normalized(tar_gz(*companions, *files), limits)) == {"a": b"1", "b": b"2"}


@pytest.mark.parametrize("original", [tar_gz(entry("._a", b"x")), zipped(("__MACOSX/._a", b"x"), (".DS_Store", b""))])
async def test_archive_with_only_files_added_by_macos_is_empty(refusal, original):
    assert await refusal(original) == "archive_empty"


@pytest.mark.parametrize("label", ["my label", "../../x", "/x"])
async def test_volume_label_of_gnu_tar_is_left_out(normalized, tmp_path, label):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a").write_bytes(b"1")
    for form in ("gnu", "posix"):
        command = ["tar", "-c", f"--format={form}", "-V", label, "-C", str(tmp_path), "p"]
        packed = made_by(*command)
        assert contents(await normalized(packed)) == {"a": b"1"}


async def test_incremental_tar_of_gnu_tar_is_unpacked(normalized, tmp_path):
    (tmp_path / "p" / "d").mkdir(parents=True)
    (tmp_path / "p" / "d" / "a").write_bytes(b"1")
    snapshot = tmp_path / "snapshot"
    command = ["tar", "-c", "-g", str(snapshot), "-C", str(tmp_path), "p"]
    packed = made_by(*command)
    assert contents(await normalized(packed)) == {"d": "folder", "d/a": b"1"}


async def test_file_named_twice_to_gnu_tar_is_stored_once(normalized, tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a").write_bytes(b"1")
    (tmp_path / "p" / "l").symlink_to("a")
    command = ["tar", "-c", "-C", str(tmp_path), "p", "p/a", "./p/l"]
    packed = made_by(*command)
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        assert [header.linkname for header in archive if header.islnk()]
    with tarfile.open(await normalized(packed)) as archive:
        assert [(header.name, header.linkname) for header in archive if not header.issym()] == [("a", "")]
        assert {header.linkname for header in archive if header.issym()} == {"a"}


async def test_hard_link_to_itself_before_the_file_is_refused(refusal):
    assert await refusal(tar_gz(entry("b"), hardlink("a", "a"))) == "archive_link_escapes"


async def test_attributes_in_extended_headers_of_macos_are_dropped(normalized):
    header, content = entry("p/a", b"1")
    header.pax_headers = {
        "LIBARCHIVE.xattr.com.apple.provenance": "AQAAe",
        "SCHILY.xattr.com.apple.quarantine": "0081;\udcff",
        "LIBARCHIVE.creationtime": "1700000000.5",
        "mtime": "1700000000.25",
    }
    assert contents(await normalized(tar_gz((header, content)))) == {"a": b"1"}


@pytest.mark.parametrize("behind", [b"some text\n", b"x", bytes(700) + b"text", b"\x1f", b"\x1f\x8c" * 40000])
async def test_text_after_the_end_of_a_gzip_is_a_warning(normalized, tmp_path, behind):
    whole = tar_gz(entry("a", b"1" * 70000), entry("b", b"2"))
    path = tmp_path / "original"
    path.write_bytes(whole + behind)
    warnings = await normalize(path, tmp_path / "normalized", SMALL_LIMITS)
    assert warnings == ["the bytes after the end of the gzip are ignored"]
    assert contents(tmp_path / "normalized") == {"a": b"1" * 70000, "b": b"2"}


@pytest.mark.parametrize("behind", [b"", b"\0", bytes(200000), gzipped(b""), gzipped(b"text")])
async def test_padding_and_members_after_a_gzip_are_no_warning(normalized, tmp_path, behind):
    path = tmp_path / "original"
    path.write_bytes(tar_gz(entry("a", b"1")) + behind)
    assert await normalize(path, tmp_path / "normalized", SMALL_LIMITS) == []
    assert contents(tmp_path / "normalized") == {"a": b"1"}


async def test_damaged_member_after_a_gzip_is_refused(refusal):
    member = bytearray(gzipped(b"text" * 100))
    member[-6] ^= 1
    assert await refusal(tar_gz(entry("a", b"1")) + member) == "archive_truncated"
    assert await refusal(tar_gz(entry("a", b"1")) + gzipped(b"text")[:-3]) == "archive_truncated"


async def test_truncated_gzip_followed_by_text_is_refused(refusal):
    assert await refusal(tar_gz(entry("a", os.urandom(5000)))[:-1000] + b"some text\n") == "archive_truncated"


async def test_gzip_in_a_gzip_is_unpacked(normalized, tmp_path):
    inner = tar_gz(entry("a", os.urandom(100000)), symlink("l", "/x"))
    expected = contents(await normalized(inner))
    assert contents(await normalized(gzipped(inner))) == expected
    (tmp_path / "original").write_bytes(gzipped(inner + b"text"))
    assert await normalize(tmp_path / "original", tmp_path / "normalized", SMALL_LIMITS)


async def test_gzip_in_a_gzip_in_a_gzip_is_refused(normalized):
    with pytest.raises(BuildFailedError) as caught:
        await normalized(gzipped(gzipped(tar_gz(entry("a", b"1")))))
    assert caught.value.reason == "archive_unknown"
    assert caught.value.message == "The source is a gzip in a gzip in a gzip; send a tar that is compressed once."


async def test_bombs_and_damage_inside_a_gzip_in_a_gzip_are_refused(refusal):
    zeros = tar_gz(entry("a", bytes(20_000_000)))
    assert await refusal(gzipped(zeros)) == "archive_bomb"
    damaged = bytearray(gzipped(tar_gz(entry("a", os.urandom(5000)))))
    damaged[-6] ^= 1  # the outer checksum
    assert await refusal(bytes(damaged)) == "archive_truncated"
    assert await refusal(gzipped(gzipped(b"text" * 1000))) == "archive_unknown"
    assert await refusal(gzipped(gzipped(b""))) == "archive_empty"


def zip_of(*names: tuple[bytes, int, bytes, int]) -> bytes:
    """A zip with an entry for each name, flags, extra field and system."""
    whole, directory = bytearray(), bytearray()
    for name, flags, extra, system in names:
        head = struct.pack("<HHHHHLLLHH", 20, flags, 0, 0, 33, zlib.crc32(b"1"), 1, 1, len(name), len(extra))
        directory += b"PK\x01\x02" + struct.pack("<BB", 20, system) + head
        directory += struct.pack("<HHHLL", 0, 0, 0, 0, len(whole)) + name + extra
        whole += b"PK\x03\x04" + head + name + extra + b"1"
    end = struct.pack("<HHHHLLH", 0, 0, len(names), len(names), len(directory), len(whole), 0)
    return bytes(whole + directory + b"PK\x05\x06" + end)


def unicode_path(name: bytes, text: str, version: int = 1) -> bytes:
    content = struct.pack("<BL", version, zlib.crc32(name)) + text.encode()
    return struct.pack("<HH", 0x5455, 5) + b"\x03" + bytes(4) + struct.pack("<HH", 0x7075, len(content)) + content


@pytest.mark.parametrize(
    ("name", "flags", "extra", "system", "expected"),
    [
        (b"stra\xe1e", 0, unicode_path(b"stra\xe1e", "straße"), 3, "straße"),
        (b"gr_n/a?b", 0, unicode_path(b"gr_n/a?b", "grün/a😀b"), 0, "grün/a😀b"),
        # the entry was renamed by a program that does not know the field
        (b"stra\xe1e", 0, unicode_path(b"another", "straße"), 3, "straße"),
        (b"plain", 0, unicode_path(b"another", "straße"), 3, "plain"),
        (b"plain", 0, unicode_path(b"plain", "straße", version=2), 3, "plain"),
        (b"plain", 0, struct.pack("<HHB", 0x7075, 1, 1), 3, "plain"),
        (b"plain", 0, b"\x75\x70", 3, "plain"),
        # the flag, valid UTF-8 without it, cp437
        ("grün".encode(), 0x800, b"", 3, "grün"),
        ("grün".encode(), 0, b"", 0, "grün"),
        (b"gr\x81n", 0, b"", 0, "grün"),
        (b"gr\x81n", 0, b"", 3, "grün"),
    ],
)
async def test_zip_names_are_decoded_by_flag_unicode_path_or_cp437(normalized, name, flags, extra, system, expected):
    assert set(contents(await normalized(zip_of((name, flags, extra, system))))) == {expected.rpartition("/")[2]}


async def test_unicode_path_that_leads_out_is_refused(refusal):
    assert await refusal(zip_of((b"plain", 0, unicode_path(b"plain", "../x"), 3))) == "archive_path_escapes"


@pytest.mark.parametrize(
    ("names", "system", "expected"),
    [
        ([b"d\\a", b"d\\e\\b", b"c"], 0, {"d/a", "d/e/b", "c"}),
        ([b"d\\a", b"d\\e\\b", b"c"], 10, {"d/a", "d/e/b", "c"}),
        ([b"d\\", b"d\\a", b"c"], 0, {"d", "d/a", "c"}),
        ([b"d\\a", b"d/b", b"c"], 0, {"d\\a", "d/b", "c"}),
        ([b"unit\\x2dname", b"c"], 3, {"unit\\x2dname", "c"}),
        ([b"unit\\x2dname", b"c"], 19, {"unit\\x2dname", "c"}),
        ([b"..\\x", b"c"], 3, {"..\\x", "c"}),
        ([b"..\\x", b"d/c"], 0, {"..\\x", "d/c"}),
    ],
)
async def test_backslash_separates_only_in_windows_zips_without_slashes(normalized, names, system, expected):
    assert set(contents(await normalized(zip_of(*((name, 0, b"", system) for name in names))))) == expected
