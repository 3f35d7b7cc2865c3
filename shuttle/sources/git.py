"""Fetches git sources: finds the commit of the ref, clones no more than it needs, and packs the files of the commit."""

import asyncio
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, replace
from hashlib import file_digest
from pathlib import Path
from typing import Any

from shuttle.errors import BuildFailedError, shortened
from shuttle.outgoing.checking_proxy import CheckingProxy, checking_proxy
from shuttle.outgoing.connector import CheckingResolver
from shuttle.outgoing.userinfo import Credentials, without_userinfo
from shuttle.sources import FetchedSource, SourceLimits
from shuttle.sources.git_command import Access, GitError, Repository, TooLargeError, clone_folder
from shuttle.sources.git_faults import NOT_GIT, fault_of, is_not_offered, machine_fault
from shuttle.sources.git_folder import add_git_folder
from shuttle.sources.git_tree import TOP, commit_to_pack, pack
from shuttle.sources.kinds.git import GitSource, is_ref

_FULL_COMMIT = re.compile(r"[0-9a-f]{40}", re.IGNORECASE)
_SHORT_COMMIT = re.compile(r"[0-9a-f]{4,39}", re.IGNORECASE)
# A depth that no history reaches, so that all of it is fetched. Without a depth git would also use the dumb protocol,
# which needs a request for each file. With a depth git refuses servers that have only that protocol.
_WHOLE = "--depth=2147483647"
# The list of branches and tags: some 100,000 of them.
_MAX_LISTED_BYTES = 16 * 1024 * 1024
# Each of them takes 4 KiB of the disk, and removing 20,000 takes some seconds.
_MAX_REF_FOLDERS = 20_000
# How many clones run at the same time: each has processes of its own, and may use 2 GiB of memory for a moment.
_AT_ONCE = 32
_FETCHED = "refs/shuttle/source"
_BRANCH = "refs/heads/"


@dataclass(frozen=True, slots=True)
class _Ref:
    """A ref of the server; `branch` is None for a tag."""

    name: str
    branch: str | None


class GitFetcher:
    """Fetches git sources through a proxy that connects to the allowed addresses of `resolver`."""

    def __init__(self, resolver: CheckingResolver, *, stall_seconds: float = 30, ca_file: Path | None = None) -> None:
        """`ca_file` holds all CAs that are trusted; None = the system's."""
        self._resolver = resolver
        self._stall_seconds = stall_seconds
        self._ca_file = ca_file
        self._places = asyncio.Semaphore(_AT_ONCE)

    def place(self) -> AbstractAsyncContextManager[object]:
        """See SourceFetcher."""
        return self._places

    async def fetch(self, source: GitSource, into: Path, limits: SourceLimits) -> FetchedSource:
        """Pack the files of the commit as the tar.gz `into`: equal bytes for an equal commit, without .git.

        With `source.with_git`, .git is among them, and has the history of all branches and tags.

        Raises:
            BuildFailedError: `source_ref_not_found`, `source_subdir_not_found`, `source_unauthorized`,
                `source_not_found`, `source_not_git`, `source_empty`, `source_refused` (a forbidden address, a submodule
                without an http or https URL, too many submodules, a file named .git), `source_untrusted`,
                `source_redirects`, `source_too_large`, `archive_too_large` (too many files), `source_failed`.
            UnavailableError: a retry may succeed.
        """
        folder = clone_folder(into)
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)  # a killed process has left it
        try:
            async with checking_proxy(self._resolver) as proxy:
                access = Access(proxy.url, self._stall_seconds, self._ca_file)
                repository = Repository(folder, access, limits.max_source_bytes)
                try:
                    return await _fetched(source, repository, into, limits, proxy)
                except TooLargeError:
                    message = f"{source.repository} needs more than SHUTTLE_MAX_SOURCE_BYTES."
                    raise BuildFailedError("source_too_large", message) from None
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


async def _fetched(
    source: GitSource, repository: Repository, into: Path, limits: SourceLimits, proxy: CheckingProxy
) -> FetchedSource:
    credentials = None if source.credentials is None else (source.repository, source.credentials)
    remote = _Remote(repository, source.repository, source.repository, credentials)

    async def fetch_submodule(commit: str, url: str) -> str:
        shown = f"The submodule {shortened(without_userinfo(url))}"
        # Refs of its own, because a branch `a` leaves no place for a branch `a/b` of another repository.
        submodule = replace(remote, url=url, shown=shown, refs_folder=f"refs/shuttle/{commit}")
        with _named_errors(shown, proxy):
            return await submodule.fetch(commit)

    with _named_errors(remote.shown, proxy):
        await repository.create()
        commit, branch = await _commit_of(source.ref, remote)
        wanted = await commit_to_pack(commit, source, repository, fetch_submodule)
        added: list[str] = []
        if source.with_git:
            await remote.fetch_all()
            added = await add_git_folder(commit, branch, source.repository, repository, TOP)
        await pack(wanted, repository, into, limits.max_entries, added)
    sha256 = await asyncio.to_thread(_sha256, into)
    return FetchedSource(into, into.stat().st_size, sha256, "application/gzip", commit, branch)


@contextmanager
def _named_errors(shown: str, proxy: CheckingProxy) -> Iterator[None]:
    try:
        yield
    except GitError as error:
        raise fault_of(error, shown, proxy.refusal) from None


@dataclass(frozen=True, slots=True)
class _Remote:
    """A repository on a server, which is fetched into `repository`.

    `shown` is its name in errors. `credentials` are a URL and the credentials for its origin: those of the source, also
    for a submodule. Its branches and tags are fetched into `refs_folder`.
    """

    repository: Repository
    url: str
    shown: str
    credentials: tuple[str, Credentials] | None
    refs_folder: str = "refs"

    async def refs(self, *patterns: str) -> dict[str, str]:
        """The ids of the refs by their names. The key `HEAD@` has the name of the ref that HEAD points to."""
        listed = await self._run("ls-remote", "--symref", "--", self.url, *patterns)
        refs = {}
        for line in listed.decode(errors="replace").splitlines():
            value, _, name = line.partition("\t")
            if value.startswith("ref: "):
                refs[f"{name}@"] = value.removeprefix("ref: ")
            else:
                refs[name] = value
        return refs

    async def fetch(self, wanted: str) -> str:
        """Fetch a ref or a commit without its history; returns the commit."""
        try:
            await self._fetch("--depth=1", f"+{wanted}:{_FETCHED}")
        except GitError as error:
            if not _FULL_COMMIT.fullmatch(wanted) or not is_not_offered(error):
                raise
            await self.fetch_all()
            return await self.commit(wanted)
        return await self.commit(_FETCHED)

    async def fetch_all(self) -> None:
        """Fetch all branches and tags with their history.

        They are named one by one: for a pattern the server could send other names than it has listed.

        Raises:
            BuildFailedError: `source_too_large`, there are too many of them.
        """
        try:
            await self._fetch_each(await self._branches_and_tags())
        except GitError as error:
            if not is_not_offered(error):
                raise
            await self._fetch_each(await self._branches_and_tags())  # one of them was deleted meanwhile

    async def _branches_and_tags(self) -> list[str]:
        """Their full names, without those that git would not accept either."""
        too_many = BuildFailedError("source_too_large", f"{self.shown} has too many branches and tags.")
        try:
            options = ("--heads", "--tags", "--refs")
            listed = await self._run("ls-remote", *options, "--", self.url, max_output_bytes=_MAX_LISTED_BYTES)
        except TooLargeError:
            raise too_many from None
        names = [line.partition("\t")[2] for line in listed.decode(errors="replace").splitlines()]
        names = [name for name in names if is_ref(name) and name.startswith(("refs/heads/", "refs/tags/"))]
        if not _need_few_folders(names):
            raise too_many
        return names

    async def _fetch_each(self, names: Sequence[str]) -> None:
        refspecs = self.repository.folder / "refspecs"
        lines = (f"+{name}:{self.refs_folder}/{name.removeprefix('refs/')}\n" for name in names)
        refspecs.write_text("".join(lines))
        if names:
            await self._fetch(_WHOLE, stdin=refspecs)

    async def check_smart(self) -> None:
        """Raises BuildFailedError `source_not_git` if the server does not speak git's smart protocol.

        With the dumb protocol any web page without refs looks like an empty repository.
        """
        packets = self.repository.folder / "packets"
        traced = {"GIT_TRACE_PACKET": str(packets.absolute())}
        await self._run("ls-remote", "--", self.url, "HEAD", environment=traced)
        if not packets.exists():
            raise BuildFailedError("source_not_git", f"{self.shown} {NOT_GIT}")

    async def is_empty(self) -> bool:
        """Whether the repository has no refs."""
        try:
            return not await self._run("ls-remote", "--", self.url)
        except TooLargeError:  # so many that their list is above the limit of the output
            return False

    async def commit(self, name: str) -> str:
        """The full id of a fetched commit. Raises BuildFailedError `source_ref_not_found`."""
        try:
            return await self.repository.line(
                "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"
            )
        except GitError as error:
            raise machine_fault(error) or _not_found(self.shown) from None

    async def _fetch(self, depth: str, *refspecs: str, stdin: Path | None = None) -> None:
        """Fetch these refspecs, or those in the lines of the file `stdin`."""
        options = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", depth)
        more = ("--stdin",) if stdin is not None else ()
        await self._run("fetch", *options, *more, "--", self.url, *refspecs, stdin=stdin)

    async def _run(self, command: str, *arguments: str, **options: Any) -> bytes:
        adds = command == "fetch"
        return await self.repository.run(command, *arguments, credentials=self.credentials, adds_pack=adds, **options)


async def _commit_of(ref: str | None, remote: _Remote) -> tuple[str, str | None]:
    """Fetch the commit of the ref; returns the commit and its branch.

    The ref is looked up as a full commit id, then as a tag, a branch, and a shortened commit id.
    """
    if ref is not None and _FULL_COMMIT.fullmatch(ref):
        return await remote.fetch(ref.lower()), None
    names = _names_of(ref)
    refs = await remote.refs("HEAD", *(name for name in names if name != "HEAD"))
    for name in names:
        if name in refs:
            return await remote.fetch(name), _branch_of(refs.get(f"{name}@", name))
    if not refs:  # HEAD may name a branch that does not exist
        await remote.check_smart()
        if await remote.is_empty():
            raise BuildFailedError("source_empty", f"{remote.shown} has no commits.")
    if ref is None:
        message = f"{remote.shown} has no default branch; name a branch, a tag or a commit after the # of source.url."
        raise BuildFailedError("source_ref_not_found", message)
    if not _SHORT_COMMIT.fullmatch(ref):
        raise _not_found(remote.shown)
    await remote.fetch_all()
    return await remote.commit(ref), None


def _need_few_folders(names: Sequence[str]) -> bool:
    """Whether few folders hold the refs: git makes one for each part of a name."""
    folders = set[str]()
    for name in names:
        folder = name.rpartition("/")[0]
        while folder and folder not in folders:
            folders.add(folder)
            folder = folder.rpartition("/")[0]
        if len(folders) > _MAX_REF_FOLDERS:
            return False
    return True


def _branch_of(name: str) -> str | None:
    """The branch of this full name; None also for a name that no branch can have, which a server may have sent."""
    branch = name.removeprefix(_BRANCH)
    return branch if branch != name and is_ref(branch) else None


def _names_of(ref: str | None) -> tuple[str, ...]:
    """The full names that the ref may mean, in the order of their precedence."""
    if ref is None:
        return ("HEAD",)
    return (ref,) if ref.startswith("refs/") else (f"refs/tags/{ref}", f"{_BRANCH}{ref}")


def _not_found(shown: str) -> BuildFailedError:
    return BuildFailedError("source_ref_not_found", f"{shown} has no such branch, tag or commit.")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
