"""Large trees that real programs pack are the same after staging and unpacking on an agent: bytes, links and modes.

The trees have no names that a zip cannot represent (bytes that are not UTF-8).
"""

import asyncio
import os
import stat
from pathlib import Path

import pytest

from shuttle.cli.pack import pack
from shuttle.sources import SourceLimits
from shuttle.sources.archive import normalize
from tests.real.source_trees import SHAPES, Tree

pytestmark = pytest.mark.timeout(300)

LIMITS = SourceLimits(max_source_bytes=1 << 30, max_expanded_bytes=1 << 30)
PACKERS = {
    "gnu.tar.gz": ("tar", "-czf", "ARCHIVE", "project-1.0"),
    "pax.tar": ("tar", "--format=pax", "-cf", "ARCHIVE", "project-1.0"),
    "flat.tar.gz": ("tar", "-czf", "ARCHIVE", "-C", "project-1.0", "."),
    "busybox.tar.gz": ("busybox", "tar", "-czf", "ARCHIVE", "project-1.0"),
    "info.zip": ("zip", "-qry", "ARCHIVE", "project-1.0"),
}
UNPACKERS = (("tar",), ("busybox", "tar"))


def everything(root: Path) -> dict[str, tuple[str, bytes]]:
    """Each path with its mode and its bytes, or the target of a link."""
    found = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder, name)
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                content = os.fsencode(path.readlink())
            else:
                content = path.read_bytes() if stat.S_ISREG(mode) else b""
            found[str(path.relative_to(root))] = (stat.filemode(mode), content)
    return found


async def call(*command: str | Path, cwd: Path) -> None:
    process = await asyncio.create_subprocess_exec(*command, cwd=cwd, env={**os.environ, "LC_ALL": "C.UTF-8"})
    assert await process.wait() == 0


async def staged(archive: Path, unpacker: tuple[str, ...], folder: Path) -> dict[str, tuple[str, bytes]]:
    """The tree that an agent gets from this archive."""
    await normalize(archive, folder / "normalized", LIMITS)
    sources = folder / unpacker[0]
    sources.mkdir()
    await call(*unpacker, "-xzof", folder / "normalized", "-C", sources, cwd=folder)
    return everything(sources)


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_large_tree_is_the_same_after_staging(tmp_path: Path, shape: str) -> None:
    project = tmp_path / "project-1.0"
    SHAPES[shape](Tree(project, seed=len(shape)))
    expected = everything(project)
    assert len(expected) > 2000
    for number, (name, command) in enumerate(PACKERS.items()):
        archive = tmp_path / name
        await call(*(str(archive) if word == "ARCHIVE" else word for word in command), cwd=tmp_path)
        folder = tmp_path / f"of {name}"
        folder.mkdir()
        assert await staged(archive, UNPACKERS[number % 2], folder) == expected, name


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_large_tree_that_shuttle_submit_packs_is_the_same_after_staging(tmp_path: Path, shape: str) -> None:
    project = tmp_path / "project-1.0"
    SHAPES[shape](Tree(project, seed=len(shape)))
    (tmp_path / "packed").write_bytes(pack(project))
    assert await staged(tmp_path / "packed", UNPACKERS[0], tmp_path) == everything(project)
