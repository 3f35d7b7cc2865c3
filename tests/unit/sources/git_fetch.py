"""Fetches git sources for tests, and shows their files and errors."""

import tarfile
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from shuttle.errors import BuildFailedError
from shuttle.outgoing.connector import AddressPolicy, CheckingResolver
from shuttle.sources import FetchedSource, SourceLimits
from shuttle.sources.archive import normalize
from shuttle.sources.git import GitFetcher
from shuttle.sources.kinds.git import GitSource
from tests.support.git_server import PASSWORD, Fault, GitServer, Work, git

LIMITS = SourceLimits(max_source_bytes=64 * 1024 * 1024, max_expanded_bytes=256 * 1024 * 1024)


async def fetch(
    url: str, into: Path, *, loopback: bool = True, limits: SourceLimits = LIMITS, **asked: Any
) -> FetchedSource:
    resolver = CheckingResolver(AddressPolicy(allow_loopback=loopback))
    source = GitSource.read(url).with_checkout(
        asked.get("subdir"), asked.get("submodules"), with_git=asked.get("with_git", False)
    )
    try:
        fetcher = GitFetcher(resolver, stall_seconds=2, ca_file=asked.get("ca_file"))
        return await fetcher.fetch(source, into / "fetched", limits)
    finally:
        await resolver.close()


async def files(fetched: FetchedSource) -> dict[str, str]:
    """The files as the agent gets them."""
    packed = fetched.path.with_suffix(".tar.gz")
    await normalize(fetched.path, packed, LIMITS)
    with tarfile.open(packed) as tar:
        return {
            entry.name: f"-> {entry.linkname}" if entry.issym() else tar.extractfile(entry).read().decode()
            for entry in tar
            if not entry.isdir()
        }


async def checkout(fetched: FetchedSource) -> Path:
    """The folder of the source as the agent unpacks it."""
    packed = fetched.path.with_suffix(".tar.gz")
    await normalize(fetched.path, packed, LIMITS)
    folder = fetched.path.with_name(f"unpacked-{fetched.commit}")
    with tarfile.open(packed) as tar:
        tar.extractall(folder, filter="fully_trusted")
    return folder


def url_of(server: GitServer, ref: str = "", *, userinfo: str = "") -> str:
    return f"git+{server.url.replace('//', f'//{userinfo}')}/shop.git" + (f"#{ref}" if ref else "")


async def reason(url: str, into: Path, **asked: Any) -> str:
    with pytest.raises(BuildFailedError) as caught:
        await fetch(url, into, **asked)
    assert PASSWORD not in caught.value.message
    return caught.value.reason


def answering(status: int, text: str = "", **headers: str) -> Fault:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=status, text=text, headers=headers)

    return answer


def link(work: Work, path: str, url: str, commit: str = "1" * 40) -> str:
    """Add a submodule to the repository, without cloning it."""
    with (work.folder / ".gitmodules").open("a") as settings:
        settings.write(f'[submodule "{path}"]\n\tpath = {path}\n\turl = {url}\n')
    git(work.folder, "add", ".gitmodules")
    return link_only(work, path, commit)


def link_only(work: Work, path: str, commit: str = "1" * 40) -> str:
    """Add a submodule without its settings."""
    git(work.folder, "update-index", "--add", "--cacheinfo", f"160000,{commit},{path}")
    git(work.folder, "commit", "--quiet", "--message", "a submodule")
    return work.push()
