"""Archives whose paths, links or entries reach beyond an ordinary tree of files."""

import stat
import tarfile
import zipfile

import pytest

from tests.archives import contents, entry, folder, hardlink, symlink, tar_gz, unix, zipped


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "a/..", "..", "/etc/passwd", "//x", "a/b/../../../x", "./../x", "a/../b"]
)
async def test_paths_that_lead_out(refusal, name):
    assert await refusal(tar_gz(entry("ok", b"1"), entry(name, b"x"))) == "archive_path_escapes"
    assert await refusal(zipped(("ok", b"1"), (name, b"x"))) == "archive_path_escapes"


@pytest.mark.parametrize("name", ["..\\x", "a\\..\\..\\x", "\\x", "C:\\x", "C:/x", "c:x"])
async def test_dos_paths_that_lead_out(refusal, name):
    info = zipfile.ZipInfo("x" * len(name))
    info.create_system = 0
    original = zipped(("ok", b"1"), (info, b"x")).replace(b"x" * len(name), name.encode())
    if len(name) > 1:
        assert await refusal(original) == "archive_path_escapes"


@pytest.mark.parametrize(
    "entries",
    [
        [symlink("l", "/etc/passwd")],
        [symlink("l", "../x")],
        [symlink("d/l", "../../x")],
        [symlink("d/l", "a/../../../x")],
        # chains: each harmless alone
        [symlink("up", ".."), symlink("l", "up/x")],
        [folder("d/e"), symlink("d/here", "e"), symlink("l", "d/here/../../../x")],
        [symlink("a", "d/e"), folder("d/e"), symlink("l", "a/../../../x")],
        # a circle, which programs that do not walk take for a path
        [symlink("c/c", "c/../../..")],
        # out of what remains when the one top directory is gone
        [entry("top/a", b"1"), symlink("top/l", "../top/a")],
        # hard links
        [hardlink("l", "/etc/passwd")],
        [hardlink("l", "../x")],
        [hardlink("l", "absent")],
        [hardlink("early", "late"), entry("late", b"1")],
        [folder("d"), hardlink("l", "d")],
        # written through a link, wherever it stands
        [symlink("d", "e"), folder("e"), entry("d/f", b"x")],
        [entry("d/f", b"x"), symlink("d", "e")],
        [symlink("d", "e"), entry("d", b"x")],
        [entry("d", b"x"), symlink("d", "e")],
        [symlink("d", "e"), symlink("d", "f")],
        [symlink("d", "/tmp"), entry("d/f", b"x")],
    ],
)
async def test_links_that_lead_out_or_are_written_through(refusal, entries):
    beside = [] if entries[0][0].name.startswith("top") else [entry("x", b"1")]
    assert await refusal(tar_gz(*beside, *entries)) == "archive_link_escapes"


async def test_links_that_stay_inside_or_lead_nowhere_are_kept(flat):
    original = tar_gz(
        *(entry("a", b"1"), symlink("d/l", "../a"), symlink("loop", "loop"), symlink("dangling", "not/there")),
        *(symlink("via", "d/../a"), hardlink("hard", "a"), hardlink("d/hard-to-link", "d/l"), symlink("self", ".")),
    )
    assert contents(await flat(original)) == {
        "a": b"1",
        "d/l": "-> ../a",
        "loop": "-> loop",
        "dangling": "-> not/there",
        "via": "-> d/../a",
        "hard": "-> a",
        "d/hard-to-link": "-> ../a",
        "self": "-> .",
    }


async def test_a_zip_symlink_that_leads_out(refusal):
    assert await refusal(zipped((unix("l", stat.S_IFLNK | 0o777), b"/etc/passwd"))) == "archive_link_escapes"


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"M", b"V", b"z"])
async def test_special_files_of_a_tar(refusal, kind):
    assert await refusal(tar_gz(entry("x", b"1"), entry("dev", type=kind))) == "archive_special_file"


@pytest.mark.parametrize("kind", [stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
async def test_special_files_of_a_zip(refusal, kind):
    assert await refusal(zipped(("x", b"1"), (unix("dev", kind | 0o644), b""))) == "archive_special_file"


@pytest.mark.parametrize("entries", [[entry("a", b"1"), entry("a/b", b"2")], [entry("a/b", b"2"), entry("a", b"1")]])
async def test_a_path_that_is_a_file_and_a_directory(refusal, entries):
    assert await refusal(tar_gz(*entries)) == "archive_conflict"
