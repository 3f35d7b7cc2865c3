"""The files of the service are readable by its own user only."""

import os
from pathlib import Path

import pytest

from tests.support.product import running_product

pytestmark = pytest.mark.slow


def modes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): f"{path.stat().st_mode & 0o777:o}"
        for path in (folder, *folder.rglob("*"))
        if not path.is_symlink() and (path.is_dir() or path.is_file())
    }


async def test_files_are_private_also_in_an_existing_data_directory(tmp_path: Path):
    data = tmp_path / "data"
    (data / "objects").mkdir(parents=True)
    (data / "objects" / "of-an-earlier-version").write_text("a source")
    (data / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").write_text("of somebody else")
    for path in (data, data / "objects"):
        path.chmod(0o755)
    (tmp_path / "elsewhere").chmod(0o644)
    umask = os.umask(0o022)
    try:
        async with running_product(tmp_path) as product:
            await product.submit("app", "1", "#!/bin/sh\necho built\n")
            build = await product.until_state("app", "1", "succeeded")
            await product.archived_log(build["build_uuid"])
            found = modes(data)
    finally:
        os.umask(umask)
    assert {"shuttle.db", "objects/of-an-earlier-version", f"objects/{build['build_uuid']}"} <= set(found)
    wanted = {name: "700" if (data / name).is_dir() else "600" for name in found}
    assert {name: mode for name, mode in found.items() if mode != wanted[name]} == {}
    assert (tmp_path / "elsewhere").stat().st_mode & 0o777 == 0o644
