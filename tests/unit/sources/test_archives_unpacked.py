"""The contents of normalized archives."""

import io
import os
import stat
import tarfile
import zipfile

import pytest

from tests.support.archives import (
    LONG_NAME,
    MIB,
    contents,
    entry,
    folder,
    git_archives,
    gzipped,
    hardlink,
    packed_sparse,
    symlink,
    tar,
    tar_gz,
    unix,
    zipped,
)


@pytest.mark.parametrize("pack", [tar, tar_gz])
async def test_tar_is_normalized_with_its_files(normalized, pack):
    original = pack(entry("a.txt", b"one"), folder("d"), entry("d/b.txt", b"two" * 1000), entry("empty"))
    assert contents(await normalized(original)) == {
        "a.txt": b"one",
        "d": "folder",
        "d/b.txt": b"two" * 1000,
        "empty": b"",
    }


async def test_zip_is_normalized_with_its_files(normalized):
    original = zipped(("a.txt", b"one"), ("d/", b""), ("d/b.txt", b"two" * 1000), ("empty", b""))
    assert contents(await normalized(original)) == {
        "a.txt": b"one",
        "d": "folder",
        "d/b.txt": b"two" * 1000,
        "empty": b"",
    }


@pytest.mark.parametrize(
    ("original", "expected"),
    [
        (tar_gz(folder("p"), entry("p/a", b"1"), entry("p/d/b", b"2")), {"a": b"1", "d/b": b"2"}),
        (tar_gz(entry("p/a", b"1"), entry("p/d/b", b"2")), {"a": b"1", "d/b": b"2"}),
        (tar_gz(folder("./"), folder("./p"), entry("./p//a", b"1")), {"a": b"1"}),
        (zipped(("p/a", b"1"), ("p/d/b", b"2")), {"a": b"1", "d/b": b"2"}),
        # only one level is removed, and only if it contains everything
        (tar_gz(entry("p/q/a", b"1")), {"q/a": b"1"}),
        (tar_gz(entry("p/a", b"1"), entry("b", b"2")), {"p/a": b"1", "b": b"2"}),
        (tar_gz(entry("p/a", b"1"), folder("q")), {"p/a": b"1", "q": "folder"}),
        (tar_gz(entry("alone", b"1")), {"alone": b"1"}),
        # the targets of hard links change with their files
        (
            tar_gz(entry("p/a", b"1"), hardlink("p/b", "p/a"), symlink("p/d/c", "../a")),
            {"a": b"1", "b": "-> a", "d/c": "-> ../a"},
        ),
        # the folder that the macOS Finder adds
        (zipped(("p/a", b"1"), ("__MACOSX/p/._a", b"x")), {"a": b"1"}),
    ],
)
async def test_single_top_level_directory_is_removed(normalized, original, expected):
    assert contents(await normalized(original)) == expected


async def test_git_archive_with_a_global_header_is_normalized(normalized, tmp_path):
    for original in git_archives(tmp_path / "repository"):
        found = contents(await normalized(original))
        assert found["sub/run.sh"] == b"#!/bin/sh\n"
        assert found["link"] == "-> sub/run.sh"
        assert found[LONG_NAME] == b"x"


async def test_owners_and_unusual_modes_are_dropped_and_the_executable_bit_kept(normalized):
    original = tar_gz(
        entry("tool", b"x", mode=0o6755, uid=1000, uname="me"),
        entry("data", b"x", mode=0o4600, gid=5),
        folder("closed", mode=0o1500),
    )
    with tarfile.open(await normalized(original)) as archive:
        headers = {header.name: header for header in archive}
    assert {name: header.mode for name, header in headers.items()} == {"tool": 0o755, "data": 0o644, "closed": 0o755}
    assert {(header.uid, header.gid, header.uname, header.gname) for header in headers.values()} == {(0, 0, "", "")}


async def test_the_same_archive_gives_the_same_bytes(normalized):
    original = zipped(("a", b"1"), ("b/c", os.urandom(1000)))
    first = (await normalized(original)).read_bytes()
    assert (await normalized(original)).read_bytes() == first
    assert first[4:8] == bytes(4)  # gzip's time


@pytest.mark.parametrize("tar_format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
async def test_long_names_and_names_outside_utf8_are_kept(normalized, tar_format):
    names = ["d/" + "/".join(["n" * 200] * 10), "ä€😀", "caf\udce9", "a\nb\\c"]
    original = tar_gz(*(entry(name, name.encode("utf-8", "surrogateescape")) for name in names), tar_format=tar_format)
    assert contents(await normalized(original)) == {name: name.encode("utf-8", "surrogateescape") for name in names}


async def test_last_of_repeated_files_is_kept(normalized):
    assert contents(await normalized(tar_gz(entry("a", b"old"), entry("a", b"new"), entry("b"))))["a"] == b"new"
    with pytest.warns(UserWarning, match="Duplicate"):
        original = zipped(("a", b"old"), ("a", b"new"), ("b", b""))
    assert contents(await normalized(original))["a"] == b"new"


@pytest.mark.parametrize("tar_format", ["gnu", "posix"])
async def test_sparse_files_are_expanded(normalized, tmp_path, tar_format):
    original = packed_sparse(tmp_path, 2 * MIB, b"end", tar_format)
    assert len(original) < MIB
    assert contents(await normalized(original))["sparse"] == bytes(2 * MIB) + b"end"


async def test_tar_in_two_gzip_members_or_without_an_end_mark_is_accepted(normalized):
    whole = tar(entry("a", b"1"), entry("b", b"2"))
    assert contents(await normalized(gzipped(whole[:700]) + gzipped(whole[700:]))) == {"a": b"1", "b": b"2"}
    assert contents(await normalized(gzipped(whole[:2048]))) == {"a": b"1", "b": b"2"}


async def test_zip_names_of_windows_unix_and_macos_are_decoded(normalized):
    dos = zipfile.ZipInfo("dir\\file.txt")
    dos.create_system = 0
    original = zipped((dos, b"1"), (unix("unit\\x2dname", stat.S_IFREG | 0o644), b"2"), ("ä€", b"3"))
    assert contents(await normalized(original)) == {"dir/file.txt": b"1", "unit\\x2dname": b"2", "ä€": b"3"}
    # UTF-8 without the flag that says so (macOS)
    unflagged = zipped((unix("caf\u00e9", stat.S_IFREG), b"1"), ("b", b"2")).replace(
        b"\x00\x08\x08\x00", b"\x00\x00\x08\x00"
    )
    assert set(contents(await normalized(unflagged))) == {"café", "b"}


async def test_zip_modes_and_symlinks_are_kept(normalized):
    original = zipped(
        (unix("run", stat.S_IFREG | 0o755), b"x"),
        (unix("link", stat.S_IFLNK | 0o777), b"run"),
        (unix("dir", stat.S_IFDIR | 0o755), b""),
    )
    path = await normalized(original)
    assert contents(path) == {"run": b"x", "link": "-> run", "dir": "folder"}
    with tarfile.open(path) as archive:
        assert archive.getmember("run").mode == 0o755


async def test_streamed_zip_with_data_descriptors_and_zip64_is_read(normalized):
    class Pipe(io.RawIOBase):
        """Not seekable, as when a zip is written into a socket."""

        def __init__(self):
            self.content = b""

        def writable(self):
            return True

        def write(self, data):
            self.content += bytes(data)
            return len(data)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("a", "w", force_zip64=True) as file:
            file.write(b"one" * 1000)
        archive.writestr("b", b"two")
    assert contents(await normalized(pipe.content)) == {"a": b"one" * 1000, "b": b"two"}
