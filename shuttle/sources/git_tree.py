"""Makes the archive of a commit: of all of it or of one folder, with or without its submodules."""

import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from shuttle.errors import BuildFailedError
from shuttle.sources.git_command import GitError, Repository
from shuttle.sources.git_faults import machine_fault
from shuttle.sources.kinds.git import GitSource

# Fetches a commit from the repository at a URL; returns the commit's id.
Fetch = Callable[[str, str], Awaitable[str]]

_MAX_LIST_BYTES = 64 * 1024 * 1024
_MAX_SUBMODULES = 100
_MAX_DEPTH = 5
_GITLINK = "160000"
# All files are in one folder at the top, because the check of archives removes a single folder at the top.
TOP = "source/"
_SETTINGS = ".gitmodules"
_SETTING = re.compile(r"submodule\.(.+)\.(path|url)", re.DOTALL)


async def commit_to_pack(commit: str, source: GitSource, repository: Repository, fetch: Fetch) -> str:
    """The commit whose files are packed: `commit`, or one made from it for the wanted folder or submodules.

    Raises:
        BuildFailedError: `source_subdir_not_found`, `source_refused`.
        GitError: git fails.
    """
    root = commit
    if source.submodules:
        root = await _Submodules(repository, fetch).filled(commit, source.repository)
    if source.subdir is not None:
        root = await _folder(f"{root}:{source.subdir}", repository)
    return commit if root == commit else await _dated_like(commit, root, repository)


async def pack(commit: str, repository: Repository, into: Path, max_entries: int, added: Sequence[str] = ()) -> None:
    """Write the tar.gz of the commit's files: equal bytes for an equal commit. `added` are options of `git archive`.

    Raises:
        BuildFailedError: `source_refused`, `archive_too_large`.
        GitError: git fails.
    """
    await _check_names(commit, repository, max_entries)
    packed = repository.folder / "source.tar.gz"
    await repository.run("archive", "--format=tar.gz", f"--output={packed.name}", *added, f"--prefix={TOP}", commit)
    packed.replace(into)


async def _folder(name: str, repository: Repository) -> str:
    try:
        tree = await repository.line("rev-parse", "--verify", "--quiet", "--end-of-options", name)
        if await repository.line("cat-file", "-t", tree) == "tree":
            return tree
    except GitError as error:
        if machine_fault(error) is not None:
            raise
    raise BuildFailedError("source_subdir_not_found", "The commit has no folder of the name in source.subdir.")


async def _dated_like(commit: str, tree: str, repository: Repository) -> str:
    """Make a commit of this tree with the date of `commit`; the files in the archive get this date."""
    seconds = await repository.line("show", "--no-patch", "--format=%ct", commit)
    date = f"@{seconds if seconds.isdecimal() else 0} +0000"  # old conversions have commits with malformed dates
    dates = {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
    made = await repository.run("commit-tree", "-m", commit, tree, environment=dates)
    return made.decode().strip()


async def _check_names(commit: str, repository: Repository, max_entries: int) -> None:
    listed = await repository.run(
        "ls-tree", "-r", "-t", "-z", "--name-only", "--full-tree", commit, max_output_bytes=_MAX_LIST_BYTES
    )
    names = listed.split(b"\0")
    if len(names) - 1 > max_entries:
        raise BuildFailedError("archive_too_large", f"The commit has more than {max_entries} files and folders.")
    if any(part.lower() == b".git" for name in names for part in name.split(b"/")):
        message = "The commit has an entry named .git, which git refuses to check out."
        raise BuildFailedError("source_refused", message)


class _Submodules:
    """Replaces each link to a submodule, also those inside submodules, with the files of the submodule."""

    def __init__(self, repository: Repository, fetch: Fetch) -> None:
        self._repository = repository
        self._fetch = fetch
        self._left = _MAX_SUBMODULES
        # update-index demands a work tree, but reads no file in it.
        folder = str(repository.folder.absolute())
        self._index = {"GIT_INDEX_FILE": f"{folder}/shuttle-index", "GIT_WORK_TREE": folder}

    async def filled(self, commit: str, url: str) -> str:
        """The tree of the commit of the repository at `url`, with all submodules. Raises BuildFailedError."""
        await self._repository.run("read-tree", commit, environment=self._index)
        await self._fill(commit, url, "", 0)
        return (await self._repository.run("write-tree", environment=self._index)).decode().strip()

    async def _fill(self, commit: str, url: str, prefix: str, depth: int) -> None:
        links = await self._links(commit)
        if not links:
            return
        if depth >= _MAX_DEPTH:
            raise BuildFailedError("source_refused", f"Submodules are nested more than {_MAX_DEPTH} times.")
        urls = await self._urls(commit)
        for path, wanted in links.items():
            self._left -= 1
            if self._left < 0:
                raise BuildFailedError("source_refused", f"The source has more than {_MAX_SUBMODULES} submodules.")
            if path not in urls:
                continue  # the archive gets an empty folder, as with git itself
            target = _resolved(url, urls[path], path)
            fetched = await self._fetch(wanted, target)
            place = prefix + path
            await self._repository.run("update-index", "--force-remove", "--", place, environment=self._index)
            await self._repository.run("read-tree", f"--prefix={place}/", fetched, environment=self._index)
            await self._fill(fetched, target, f"{place}/", depth + 1)

    async def _links(self, commit: str) -> dict[str, str]:
        """The commits of the submodules, by their paths."""
        listed = await self._repository.run("ls-tree", "-r", "-z", commit, max_output_bytes=_MAX_LIST_BYTES)
        links = {}
        for entry in listed.decode("utf-8", "surrogateescape").split("\0"):
            facts, _, path = entry.partition("\t")
            if facts.startswith(_GITLINK):
                links[path] = facts.split(" ")[2]
        return links

    async def _urls(self, commit: str) -> dict[str, str]:
        """The URLs of the submodules, by their paths, as .gitmodules has them."""
        if not await self._repository.run("ls-tree", "-z", commit, "--", _SETTINGS):
            return {}
        # It may name files of this machine to be included.
        options = ("--no-includes", "--list", "-z", "--blob", f"{commit}:{_SETTINGS}")
        try:
            listed = await self._repository.run("config", *options)
        except GitError as error:
            if "bad config" not in error.text:
                raise
            message = f"The {_SETTINGS} of the commit has a wrong syntax; correct it."
            raise BuildFailedError("source_refused", message) from None
        settings: dict[str, dict[str, str]] = {}
        for setting in listed.decode("utf-8", "surrogateescape").split("\0"):
            key, _, value = setting.partition("\n")
            match = _SETTING.fullmatch(key)
            if match is not None:
                settings.setdefault(match[1], {})[match[2]] = value
        return {found["path"]: found["url"] for found in settings.values() if {"path", "url"} <= found.keys()}


def _resolved(base: str, url: str, path: str) -> str:
    """The URL of a submodule; a relative one is resolved against the repository's URL (gitmodules(5))."""
    if url.startswith(("./", "../")):
        url = urljoin(base.rstrip("/") + "/", url)
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and not parts.query
    except ValueError:
        usable = False
    if not usable or not url.isprintable():
        raise BuildFailedError("source_refused", f"The submodule {path[:200]!a} has no http or https URL.")
    return url
