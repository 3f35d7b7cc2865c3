"""At the start, files in the data directory that other users could read become private."""

from pathlib import Path

import pytest

from shuttle.objects.local import make_private


@pytest.mark.parametrize("mode", [0o700, 0o755], ids=["private", "open"])
def test_restored_key_becomes_private(tmp_path: Path, mode: int) -> None:
    data = tmp_path / "data"
    (data / "objects" / "deep").mkdir(parents=True)
    files = [data / "encryption.key", data / "shuttle.db", data / "objects" / "deep" / "source"]
    for path in files:
        path.write_text("secret")
        path.chmod(0o644)
    for folder in (data / "objects" / "deep", data / "objects"):
        folder.chmod(0o755)
    data.chmod(mode)
    make_private(data)
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (data, *(file.parent for file in files))} == {0o700}


def test_targets_of_links_in_the_data_directory_are_unchanged(tmp_path: Path) -> None:
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    (elsewhere / "file").write_text("of somebody else")
    (elsewhere / "file").chmod(0o644)
    data.mkdir(mode=0o700)
    (data / "link").symlink_to(elsewhere)
    (data / "file").symlink_to(elsewhere / "file")
    make_private(data)
    assert elsewhere.stat().st_mode & 0o777 == 0o755
    assert (elsewhere / "file").stat().st_mode & 0o777 == 0o644
