"""Makes the folder `.git` for builds whose processes call git: with all history, without hooks and credentials."""

import asyncio
from pathlib import Path

from shuttle.errors import BuildFailedError
from shuttle.sources.git_command import Repository

# `git archive` holds each added file in memory, of which it may have 2 GiB.
_MAX_PACK_BYTES = 1024 * 1024 * 1024
_MAX_REFS_BYTES = 64 * 1024 * 1024
_COMMIT_REF = "refs/shuttle/source"
_BRANCHES, _TAGS, _REMOTE = b"refs/heads/", b"refs/tags/", b"refs/remotes/origin/"


async def add_git_folder(commit: str, branch: str | None, url: str, repository: Repository, top: str) -> list[str]:
    """The options of `git archive` that add `.git` to the folder `top` of the archive.

    The repository must have all branches and tags. In the new one the branches are those of the remote `origin`, whose
    `url` has no credentials, and `commit` is checked out, as `branch` or detached.

    Raises:
        BuildFailedError: `source_too_large`.
        GitError: git fails.
    """
    new = repository.folder / "new"
    new.mkdir()
    await repository.run("update-ref", _COMMIT_REF, commit)
    index = {"GIT_INDEX_FILE": str(new.absolute() / "index"), "GIT_WORK_TREE": str(new.absolute())}
    await repository.run("read-tree", commit, environment=index)
    refspec = f"+{_BRANCHES.decode()}*:{_REMOTE.decode()}*"
    for name, value in (("core.bare", "false"), ("remote.origin.url", url), ("remote.origin.fetch", refspec)):
        await repository.run("config", "--file", "new/config", name, value)
    refs = await repository.run("for-each-ref", "--format=%(objectname) %(refname)", max_output_bytes=_MAX_REFS_BYTES)
    head = commit if branch is None else f"ref: {_BRANCHES.decode()}{branch}"
    (new / "HEAD").write_text(f"{head}\n")
    (new / "packed-refs").write_bytes(b"".join(_renamed(refs, commit, branch)))
    return await asyncio.to_thread(_options, repository.folder, f"{top}.git/")


def _renamed(refs: bytes, commit: str, branch: str | None) -> list[bytes]:
    """The lines of `packed-refs`: branches become those of the remote, except the one that is checked out."""
    lines = [] if branch is None else [f"{commit} {_BRANCHES.decode()}{branch}\n".encode()]
    for line in refs.splitlines():
        target, _, name = line.partition(b" ")
        if name.startswith(_BRANCHES):
            lines.append(target + b" " + _REMOTE + name.removeprefix(_BRANCHES) + b"\n")
        elif name.startswith(_TAGS):
            lines.append(line + b"\n")
    return lines


def _options(folder: Path, git_folder: str) -> list[str]:
    packs = sorted(path for path in (folder / "objects" / "pack").iterdir() if path.suffix in {".pack", ".idx"})
    if max(path.stat().st_size for path in packs) > _MAX_PACK_BYTES:
        message = f"The history of the repository has more than {_MAX_PACK_BYTES} bytes; leave out the option git."
        raise BuildFailedError("source_too_large", message)
    files = {git_folder: sorted((folder / "new").iterdir()), f"{git_folder}objects/pack/": packs}
    # A folder without refs/ is no repository, and an archive has no empty folders.
    files[f"{git_folder}refs/shuttle/"] = [folder / _COMMIT_REF]
    if (folder / "shallow").exists():
        files[git_folder].append(folder / "shallow")
    return [
        option
        for prefix, paths in files.items()
        for option in (f"--prefix={prefix}", *(f"--add-file={path.relative_to(folder)}" for path in paths))
    ]
