"""A build is resumed only if the object store has the files that it has left; their checksums come from S3."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shuttle.objects.names import artifact_object
from shuttle.objects.s3 import S3Store
from tests.contract.state.conftest import CONTROLLER
from tests.support.inprocess import Shuttle, running_shuttle
from tests.support.s3_server import bucket_of, s3_server, settings_for

BUILDS = "/-/state/builds"
CONTENT = b"the disk"


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[tuple[Shuttle, Any]]:
    """A service with S3, and the operations of another program on its bucket."""
    with s3_server() as endpoint, bucket_of(endpoint) as (bucket, client):
        settings = {"SHUTTLE_TOKENS": f"controller:{CONTROLLER}", **settings_for(endpoint, bucket)}
        async with running_shuttle(tmp_path, **settings) as shuttle:
            shuttle.headers = {"X-API-Key": CONTROLLER}

            def replace(key: str, content: bytes) -> None:
                client.put_object(Bucket=bucket, Key=key, Body=content)

            yield shuttle, replace


async def test_resume_reads_only_files_that_another_program_has_written(
    state: tuple[Shuttle, Any], monkeypatch: pytest.MonkeyPatch
):
    shuttle, replace = state
    opened = list[str]()
    original = S3Store.open

    def noting(store: S3Store, name: str, **part: int | None) -> Any:
        opened.append(name)
        return original(store, name, **part)  # type: ignore[arg-type]

    monkeypatch.setattr(S3Store, "open", noting)

    async def resume(written: bytes | None) -> int:
        """The status of a resume, after another program has written the object."""
        uuid = (await shuttle.ask("POST", BUILDS, json={})).json["id"]
        path = f"{BUILDS}/{uuid}"
        assert (await shuttle.ask("PUT", f"{path}/artifacts/disk/content", data=CONTENT)).status == 201
        await shuttle.ask("PUT", path, json={"status": "failed"})
        if written is not None:
            replace(artifact_object(uuid, "disk"), written)
        opened.clear()
        return (await shuttle.ask("POST", f"{path}/resume", json={})).status

    assert (await resume(None), len(opened)) == (201, 0)
    assert (await resume(CONTENT), len(opened)) == (201, 1)
    assert (await resume(CONTENT[::-1]), len(opened)) == (409, 1)
    assert (await resume(b"shorter"), len(opened)) == (409, 0)
