"""The process that reads archives: its failures, its cancellation, and the end of its parent."""

import asyncio
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from shuttle.errors import UnavailableError
from shuttle.sources import archive
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


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def server_of(pid: int) -> int:
    """The server that forks the processes of the program `pid`."""
    (server,) = (child for child in children(pid) if b"fork_server" in Path(f"/proc/{child}/cmdline").read_bytes())
    return server


@asynccontextmanager
async def waiting_check(folder: Path) -> AsyncIterator[tuple[asyncio.Task[list[str]], int]]:
    """A check that waits for an original that nobody writes into its pipe, and the pid of its process."""
    os.mkfifo(folder / "original")
    task = asyncio.create_task(normalize(folder / "original", folder / "normalized", SMALL_LIMITS))
    # Opening the pipe for writing waits until the process reads from it.
    writer = await asyncio.to_thread(os.open, folder / "original", os.O_WRONLY)
    try:
        (process,) = children(server_of(os.getpid()))
        yield task, process
    finally:
        os.close(writer)


async def test_process_that_is_killed_is_reported_as_unavailable(tmp_path):
    async with waiting_check(tmp_path) as (task, process):
        os.kill(process, signal.SIGKILL)
        with pytest.raises(UnavailableError, match="exit status -9"):
            await task


async def test_checks_continue_after_the_server_of_the_processes_was_killed(tmp_path):
    async with waiting_check(tmp_path) as (task, process):
        server = server_of(os.getpid())
        with open_pidfd(process) as ended, open_pidfd(server) as server_ended:
            os.kill(server, signal.SIGKILL)
            await server_ended.wait()
            (tmp_path / "other").write_bytes(tar(entry("a", b"1")))
            assert await normalize(tmp_path / "other", tmp_path / "other.tar.gz", SMALL_LIMITS) == []
            assert not task.done()
            os.kill(process, signal.SIGKILL)
            await ended.wait()
        with pytest.raises(UnavailableError, match="its server has ended"):
            await task


async def test_check_that_ends_after_its_server_was_killed_is_reported_as_unavailable(tmp_path):
    """The process prints its result, but nobody sends its exit status."""
    (tmp_path / "original").write_bytes(tar(entry("a", os.urandom(10 * MIB))))
    task = asyncio.create_task(normalize(tmp_path / "original", tmp_path / "normalized", SMALL_LIMITS))
    while not (tmp_path / "normalized.part").exists():
        await asyncio.sleep(0.005)
        assert not task.done()
    os.kill(server_of(os.getpid()), signal.SIGKILL)
    with pytest.raises(UnavailableError, match="its server has ended"):
        await task
    assert {file.name for file in tmp_path.iterdir()} == {"original"}


async def test_stopped_server_is_replaced(tmp_path, monkeypatch):
    (tmp_path / "original").write_bytes(tar(entry("a", b"1")))
    await normalize(tmp_path / "original", tmp_path / "first", SMALL_LIMITS)
    os.kill(server_of(os.getpid()), signal.SIGSTOP)
    with monkeypatch.context() as quick:  # not for the new server, whose start may take longer
        quick.setattr(archive, "_REACTION_SECONDS", 0.2)
        with pytest.raises(UnavailableError, match="does not react"):
            await normalize(tmp_path / "original", tmp_path / "second", SMALL_LIMITS)
    assert await normalize(tmp_path / "original", tmp_path / "third", SMALL_LIMITS) == []


async def test_cancelled_check_does_not_wait_for_a_stopped_server(tmp_path):
    (tmp_path / "original").write_bytes(tar(entry("a", b"1")))
    await normalize(tmp_path / "original", tmp_path / "first", SMALL_LIMITS)
    server = server_of(os.getpid())
    os.kill(server, signal.SIGSTOP)
    task = asyncio.create_task(normalize(tmp_path / "original", tmp_path / "second", SMALL_LIMITS))
    await asyncio.wait([task], timeout=0.1)
    task.cancel()
    await asyncio.wait([task], timeout=5)
    os.kill(server, signal.SIGCONT)
    assert task.cancelled()


async def test_checks_run_at_the_same_time(tmp_path):
    async with waiting_check(tmp_path) as (task, _):
        (tmp_path / "other").write_bytes(tar(entry("a", b"1")))
        assert await normalize(tmp_path / "other", tmp_path / "other.tar.gz", SMALL_LIMITS) == []
        assert not task.done()
        task.cancel()
        await asyncio.wait([task])


async def test_checks_under_way_survive_a_server_that_may_open_no_more_files(tmp_path):
    (tmp_path / "other").write_bytes(tar(entry("a", b"1")))
    async with waiting_check(tmp_path) as (task, process):
        server = server_of(os.getpid())
        files = max(int(file.name) for file in Path(f"/proc/{server}/fd").iterdir()) + 1
        resource.prlimit(server, resource.RLIMIT_NOFILE, (files, files))
        with pytest.raises(UnavailableError, match="its server has ended"):
            await normalize(tmp_path / "other", tmp_path / "other.tar.gz", SMALL_LIMITS)
        os.kill(process, signal.SIGKILL)
        with pytest.raises(UnavailableError, match="exit status -9"):
            await task
    os.kill(server, signal.SIGKILL)


@contextmanager
def open_pidfd(pid: int) -> Iterator[asyncio.Event]:
    """An event that is set when the process ends."""
    pidfd, ended = os.pidfd_open(pid), asyncio.Event()
    asyncio.get_running_loop().add_reader(pidfd, ended.set)
    yield ended
    asyncio.get_running_loop().remove_reader(pidfd)
    os.close(pidfd)


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
    server = server_of(parent.pid)
    (process,) = children(server)
    for pid in (server, process):
        assert b"hunter22" not in Path(f"/proc/{pid}/environ").read_bytes()
    with open_pidfd(server) as server_ended, open_pidfd(process) as process_ended:
        parent.kill()
        await parent.wait()
        async with asyncio.timeout(10):
            await server_ended.wait()
            await process_ended.wait()
    os.close(writer)
