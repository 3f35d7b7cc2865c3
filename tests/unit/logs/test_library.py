"""The spools of one machine: removing them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from shuttle.logs.library import LogLibrary
from shuttle.objects.directory import DirectoryStore


@pytest.mark.parametrize("lose", [lambda folder: folder.rmdir(), lambda folder: (folder.rmdir(), folder.touch())])
def test_spool_of_a_lost_folder_can_be_forgotten(tmp_path: Path, lose: Callable[[Path], object]):
    folder = tmp_path / "spool"
    folder.mkdir()
    library = LogLibrary(folder, DirectoryStore(tmp_path / "objects"), memory_bytes=1024)
    lose(folder)
    library.forget("uuid")
