"""Archives whose paths or links lead out of the archive, and archives with special files."""

import asyncio
import shutil
import stat
import tarfile
import zipfile

import pytest

from tests.support.archives import contents, entry, folder, hardlink, symlink, tar_gz, unix, zipped


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "a/..", "..", "/etc/passwd", "//x", "a/b/../../../x", "./../x", "a/../b"]
)
async def test_paths_that_lead_out_are_refused(refusal, name):
    assert await refusal(tar_gz(entry("ok", b"1"), entry(name, b"x"))) == "archive_path_escapes"
    assert await refusal(zipped(("ok", b"1"), (name, b"x"))) == "archive_path_escapes"


@pytest.mark.parametrize("name", ["..\\x", "a\\..\\..\\x", "\\x", "C:\\x", "C:/x", "c:x"])
async def test_dos_paths_that_lead_out_are_refused(refusal, name):
    info = zipfile.ZipInfo("x" * len(name))
    info.create_system = 0
    original = zipped(("ok", b"1"), (info, b"x")).replace(b"x" * len(name), name.encode())
    if len(name) > 1:
        assert await refusal(original) == "archive_path_escapes"


@pytest.mark.parametrize(
    "entries",
    [
        # hard links
        [hardlink("l", "/etc/passwd")],
        [hardlink("l", "../x")],
        [hardlink("l", "absent")],
        [hardlink("early", "late"), entry("late", b"1")],
        [folder("d"), hardlink("l", "d")],
        # a path that passes through a link, before or after the link itself
        [symlink("d", "e"), folder("e"), entry("d/f", b"x")],
        [entry("d/f", b"x"), symlink("d", "e")],
        [symlink("d", "e"), entry("d", b"x")],
        [entry("d", b"x"), symlink("d", "e")],
        [symlink("d", "/tmp"), entry("d/f", b"x")],
        [symlink("d", "/tmp"), entry("./d//f", b"x")],
        [symlink("d", "/tmp"), folder("d/e/")],
        [symlink("d", "/tmp"), symlink("d/l", "x")],
        [symlink("d", "/tmp"), hardlink("d/h", "x")],
        [symlink("d", "/etc"), hardlink("h", "d/passwd")],
        [symlink("d/e", "/tmp"), entry("d/e/f/g", b"x")],
        # a file, then a link, then a file through it; a directory that becomes a link
        [entry("d", b"x"), symlink("d", "/tmp"), entry("d/f", b"x")],
        [folder("d"), symlink("d", "/tmp"), entry("d/f", b"x")],
        [symlink("d", "e"), symlink("d", "/tmp"), entry("d/f", b"x")],
    ],
)
async def test_hard_links_outside_and_paths_through_a_link_are_refused(refusal, entries):
    assert await refusal(tar_gz(entry("x", b"1"), *entries)) == "archive_link_escapes"


async def test_symbolic_links_are_kept_wherever_they_point(normalized):
    links = {
        "localtime": "/usr/share/zoneinfo/UTC",
        "x.service": "/dev/null",
        ".venv/bin/python3": "/usr/bin/python3",
        "etc/resolv.conf": "/run/resolv.conf",
        "up": "..",
        "d/far": "../../../x",
        "loop": "loop",
        "d/circle": "circle/../../..",
        "dangling": "not/there",
        "via": "up/../a",
        "self": ".",
        "root": "/",
        "odd \n\udce9": "caf\udce9 \\",
        "long": "n" * 4095,
    }
    tar_entries = [entry("a", b"1"), *(symlink(name, target) for name, target in links.items())]
    hard = [hardlink("hard", "a"), hardlink("d/hard-to-link", "root")]
    expected = {"a": b"1"} | {name: f"-> {target}" for name, target in links.items()}
    assert contents(await normalized(tar_gz(*tar_entries, *hard))) == expected | {
        "hard": "-> a",
        "d/hard-to-link": "-> /",
    }
    del links["odd \n\udce9"]  # a zip cannot have this name
    links["odd"] = "caf\udce9 \\"
    zip_entries = [
        (unix(name, stat.S_IFLNK | 0o777), target.encode("utf-8", "surrogateescape")) for name, target in links.items()
    ]
    expected = {"a": b"1"} | {name: f"-> {target}" for name, target in links.items()}
    assert contents(await normalized(zipped(("a", b"1"), *zip_entries))) == expected


async def test_symlink_out_of_the_top_level_directory_is_kept(normalized):
    original = tar_gz(entry("top/a", b"1"), symlink("top/l", "../top/a"))
    assert contents(await normalized(original)) == {"a": b"1", "l": "-> ../top/a"}


async def test_last_of_repeated_symlinks_is_kept(normalized):
    original = tar_gz(symlink("current", "/old"), entry("a", b"1"), symlink("current", "new"))
    with tarfile.open(await normalized(original)) as archive:
        assert [(header.name, header.linkname) for header in archive] == [("a", ""), ("current", "new")]


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([hardlink("b", "a"), hardlink("b", "a")], {"b": "-> a"}),
        ([hardlink("b", "a"), entry("b", b"2")], {"b": b"2"}),
        ([entry("b", b"2"), hardlink("b", "a")], {"b": "-> a"}),
        ([symlink("b", "/old"), symlink("c", "/x"), hardlink("b", "c")], {"b": "-> /x", "c": "-> /x"}),
        ([symlink("b", "x"), symlink("b", "y"), symlink("b", "x")], {"b": "-> x"}),
    ],
)
async def test_repeated_links_are_normalized_so_that_every_tar_unpacks_them(normalized, tmp_path, entries, expected):
    """`tar -r` and `tar a a` write such archives."""
    path = await normalized(tar_gz(entry("a", b"1"), *entries))
    assert contents(path) == {"a": b"1"} | expected
    for program in (["tar"], *([["busybox", "tar"]] if shutil.which("busybox") else [])):
        into = tmp_path / program[0]
        into.mkdir()
        unpacking = await asyncio.create_subprocess_exec(*program, "-xzof", path, "-C", into)
        assert await unpacking.wait() == 0


@pytest.mark.parametrize("target", ["", "a\0b"])
async def test_link_with_an_impossible_target_is_refused(refusal, target):
    if "\0" not in target:  # a tar cannot have this target
        assert await refusal(tar_gz(entry("a", b"1"), symlink("l", target))) == "archive_truncated"
    assert await refusal(zipped((unix("l", stat.S_IFLNK | 0o777), target.encode()))) == "archive_truncated"


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"M", b"z"])
async def test_special_files_of_a_tar_are_refused(refusal, kind):
    assert await refusal(tar_gz(entry("x", b"1"), entry("dev", type=kind))) == "archive_special_file"


@pytest.mark.parametrize("kind", [stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
async def test_special_files_of_a_zip_are_refused(refusal, kind):
    assert await refusal(zipped(("x", b"1"), (unix("dev", kind | 0o644), b""))) == "archive_special_file"


@pytest.mark.parametrize("entries", [[entry("a", b"1"), entry("a/b", b"2")], [entry("a/b", b"2"), entry("a", b"1")]])
async def test_path_that_is_a_file_and_a_directory_is_refused(refusal, entries):
    assert await refusal(tar_gz(*entries)) == "archive_conflict"
