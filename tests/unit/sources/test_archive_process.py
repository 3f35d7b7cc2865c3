"""The process that reads archives: its failures, its cancellation, and the end of its parent."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from shuttle.errors import UnavailableError
from shuttle.sources.archive import normalize
from tests.support.archives import MIB, SMALL_LIMITS, entry, tar


async def test_failure_of_the_process_is_reported_as_unavailable(tmp_path):
    (tmp_path / "original").write_bytes(tar(entry("a", b"1")))
    with pytest.raises(UnavailableError, match="No such file"):
        await normalize(tmp_path / "original", tmp_path / "absent" / "normalized", SMALL_LIMITS)


async def test_cancelled_check_leaves_no_process_and_no_file(tmp_path):
    (tmp_path / "original").write_bytes(tar(entry("a", os.urandom(30 * MIB))))
    task = asyncio.create_task(normalize(tmp_path / "original", tmp_path / "normalized", SMALL_LIMITS))
    while not (tmp_path / "normalized.part").exists():
        await asyncio.sleep(0.005)
        assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert {file.name for file in tmp_path.iterdir()} == {"original"}


async def test_process_ends_with_its_parent_and_gets_no_secrets_in_its_environment(tmp_path):
    """The parent is killed while the process waits for an original that nobody writes into the pipe."""
    os.mkfifo(tmp_path / "original")
    parent = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "import asyncio, sys, pathlib, os\n"
        "from shuttle.sources import SourceLimits\n"
        "from shuttle.sources.archive import normalize\n"
        "asyncio.run(normalize(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), SourceLimits(1, 1)))\n",
        str(tmp_path / "original"),
        str(tmp_path / "normalized"),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "S3_SECRET_KEY": "hunter22"},
    )
    # Opening the pipe for writing waits until the process reads from it.
    writer = await asyncio.to_thread(os.open, tmp_path / "original", os.O_WRONLY)
    child = int(Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()[0])
    assert b"hunter22" not in Path(f"/proc/{child}/environ").read_bytes()
    pidfd = os.pidfd_open(child)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(pidfd, ended.set)
    parent.kill()
    await parent.wait()
    await asyncio.wait_for(ended.wait(), 10)
    asyncio.get_running_loop().remove_reader(pidfd)
    os.close(pidfd)
    os.close(writer)
