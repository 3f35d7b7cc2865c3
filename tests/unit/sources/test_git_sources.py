"""Git sources, fetched from `git http-backend`: which commit, which files, and what a hostile host can do."""

import asyncio
import random
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest
from aiohttp import web

from shuttle.errors import UnavailableError
from tests.support.git_server import PASSWORD, USER, GitServer, Work, git, git_server
from tests.unit.sources.git_fetch import LIMITS, answering, checkout, fetch, files, link, reason, url_of


@pytest.mark.slow
async def test_the_commit_of_a_ref_is_fetched(server: GitServer, work: Work, tmp_path: Path):
    first = work.commit({"build.sh": "#!/bin/sh\n", "a/b.txt": "1"})
    git(work.folder, "tag", "--annotate", "--message", "m", "v1")
    git(work.folder, "tag", "both")
    second = work.commit({"build.sh": "#!/bin/sh\nexit 0\n"}, "feat/x")
    git(work.folder, "branch", "both")
    work.push()
    expected = {
        "": (first, "main"),
        "main": (first, "main"),
        "feat/x": (second, "feat/x"),
        "feat%2Fx": (second, "feat/x"),
        "refs/heads/feat/x": (second, "feat/x"),
        "v1": (first, None),
        "refs/tags/v1": (first, None),
        "both": (first, None),
        "refs/heads/both": (second, "both"),
        second: (second, None),
        first[:8]: (first, None),
    }
    fetched = {ref: await fetch(url_of(server, ref), tmp_path) for ref in expected}
    assert {ref: (found.commit, found.branch) for ref, found in fetched.items()} == expected
    assert len({found.sha256 for found in fetched.values()}) == 2, "equal bytes for an equal commit"
    for ref in ("no-such", "abcdef12", "0" * 40, "refs/heads/v1"):
        assert await reason(url_of(server, ref), tmp_path) == "source_ref_not_found"


@pytest.mark.slow
async def test_the_files_are_those_of_a_checkout(server: GitServer, work: Work, tmp_path: Path):
    """Attributes for `git archive` leave nothing out, and a single folder at the top stays."""
    (work.folder / "only").mkdir()
    (work.folder / "only" / "link").symlink_to("/etc/passwd")
    work.commit({"only/.gitattributes": "left.txt export-ignore\nid.txt export-subst\n", "only/left.txt": "l"})
    work.commit({"only/id.txt": "$Format:%H$"})
    found = await files(await fetch(url_of(server), tmp_path))
    assert found.pop("only/.gitattributes")
    assert found == {"only/left.txt": "l", "only/id.txt": "$Format:%H$", "only/link": "-> /etc/passwd"}
    assert sorted(await files(await fetch(url_of(server), tmp_path, subdir="only"))) == [
        ".gitattributes",
        "id.txt",
        "left.txt",
        "link",
    ]
    for missing in ("other", "only/left.txt"):
        assert await reason(url_of(server), tmp_path, subdir=missing) == "source_subdir_not_found"


@pytest.mark.parametrize("who", ["a <a@example.com>", "a <a@example.com> -5 +0000"], ids=["none", "negative"])
async def test_a_folder_of_a_commit_with_a_malformed_date_is_fetched(
    server: GitServer, work: Work, tmp_path: Path, who: str
):
    work.commit({"sub/a": "1"})
    tree = git(work.folder, "rev-parse", "HEAD^{tree}")
    text = f"tree {tree}\nauthor {who}\ncommitter {who}\n\nx\n"
    commit = git(work.folder, "hash-object", "-t", "commit", "-w", "--literally", "--stdin", text=text)
    git(work.folder, "update-ref", "refs/heads/old", commit)
    work.push()
    assert await files(await fetch(url_of(server, "old"), tmp_path, subdir="sub")) == {"a": "1"}


async def test_credentials_reach_their_own_host_only(server: GitServer, work: Work, tmp_path: Path):
    work.commit({"a": "1"})
    server.with_password = True
    seen: list[str] = []

    async def look(request: web.Request) -> None:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                seen.append(path.read_text(errors="replace"))

    server.fault = look
    valid = f"{USER}:{quote(PASSWORD, safe='')}@"
    assert (await fetch(url_of(server, userinfo=valid), tmp_path)).branch == "main"
    assert any("git-remote-http" in line for line in seen)
    assert not any(PASSWORD in line or quote(PASSWORD, safe="") in line for line in seen)
    for userinfo in ("", f"{USER}:wrong@"):
        assert await reason(url_of(server, userinfo=userinfo), tmp_path) == "source_unauthorized"

    headers: list[str | None] = []

    async def elsewhere(request: web.Request) -> web.Response:
        headers.append(request.headers.get("Authorization"))
        return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="other"'})

    async with git_server(server.folder) as other:
        other.fault = elsewhere

        async def redirect(request: web.Request) -> web.Response:
            return web.Response(status=302, headers={"Location": f"{other.url}{request.path_qs}"})

        server.fault = redirect
        assert await reason(url_of(server, userinfo=valid), tmp_path) == "source_unauthorized"
    assert set(headers) == {None}


async def test_an_empty_repository_gives_its_own_reason(server: GitServer, work: Work, tmp_path: Path):
    assert await reason(url_of(server), tmp_path) == "source_empty"
    assert await reason(url_of(server, "main"), tmp_path) == "source_empty"


async def test_a_repository_whose_default_branch_does_not_exist_is_not_empty(
    server: GitServer, work: Work, tmp_path: Path
):
    """A new bare repository names a branch that nobody may ever push."""
    commit = work.commit({"a": "1"}, "trunk")
    assert (await fetch(url_of(server, commit[:8]), tmp_path)).commit == commit
    for ref in ("", "main", "abcdef12"):
        assert await reason(url_of(server, ref), tmp_path) == "source_ref_not_found"


@pytest.mark.parametrize("name", [b"", b"\x1b[31mred", b"z" * 60_000])
async def test_a_default_branch_with_an_impossible_name_is_none(
    server: GitServer, work: Work, tmp_path: Path, name: bytes
):
    """It would be shown in the log, in the record and on the page."""
    commit = work.commit({"a": "1"})

    async def listing(request: web.Request) -> web.Response | None:
        if b"command=ls-refs" not in await request.read():
            return None
        line = f"{commit} HEAD symref-target:refs/heads/".encode() + name + b"\n"
        return web.Response(
            body=b"%04x%s0000" % (len(line) + 4, line), content_type="application/x-git-upload-pack-result"
        )

    server.fault = listing
    assert (await fetch(url_of(server), tmp_path)).branch is None


async def test_forbidden_addresses_are_refused_also_behind_redirects_and_in_submodules(
    server: GitServer, work: Work, tmp_path: Path
):
    work.commit({"a": "1"})
    assert await reason(url_of(server), tmp_path, loopback=False) == "source_refused"
    server.fault = answering(302, Location="http://169.254.169.254/x.git/info/refs?service=git-upload-pack")
    assert await reason(url_of(server), tmp_path) == "source_refused"
    server.fault = None
    link(work, "sub", "http://169.254.169.254/x.git")
    assert await reason(url_of(server), tmp_path, submodules=True) == "source_refused"


async def test_an_entry_named_git_is_refused(server: GitServer, work: Work, tmp_path: Path):
    work.commit({"a": "1"})
    target = git(work.folder, "hash-object", "-w", "--stdin", text="/etc")
    tree = git(work.folder, "mktree", text=f"120000 blob {target}\t.GIT\n")
    git(work.folder, "update-ref", "refs/heads/hostile", git(work.folder, "commit-tree", "-m", "x", tree))
    work.push()
    assert await reason(url_of(server, "hostile"), tmp_path) == "source_refused"


@pytest.mark.slow
async def test_a_repository_above_the_limit_is_refused(server: GitServer, work: Work, tmp_path: Path):
    work.commit({f"{number}": random.Random(number).randbytes(40_000).hex() for number in range(10)})
    small = replace(LIMITS, max_source_bytes=200_000)
    assert await reason(url_of(server), tmp_path, limits=small) == "source_too_large"
    assert await reason(url_of(server), tmp_path, limits=replace(LIMITS, max_entries=5)) == "archive_too_large"


@pytest.mark.slow
async def test_folder_git_has_the_history_and_neither_hooks_nor_credentials(
    server: GitServer, work: Work, tmp_path: Path
):
    server.with_password = True
    first = work.commit({"build.sh": "#!/bin/sh\n", "a": "1"})
    git(work.folder, "tag", "--annotate", "--message", "m", "v1")
    commit = work.commit({"a": "2"}, "feat/x")
    hook = work.served / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\n")
    hook.chmod(0o755)
    userinfo = f"{USER}:{quote(PASSWORD, safe='')}@"
    unpacked = await checkout(await fetch(url_of(server, "feat/x", userinfo=userinfo), tmp_path, with_git=True))
    assert (git(unpacked, "rev-parse", "HEAD"), git(unpacked, "branch", "--show-current")) == (commit, "feat/x")
    assert git(unpacked, "status", "--porcelain") == ""
    assert git(unpacked, "describe") == f"v1-1-g{commit[:7]}"
    assert git(unpacked, "log", "--format=%H", "origin/main") == first
    assert git(unpacked, "remote", "get-url", "origin") == f"{server.url}/shop.git"
    assert git(unpacked, "fsck", "--strict") == ""
    assert not (unpacked / ".git" / "hooks").exists()
    written = [path.read_bytes() for path in (unpacked / ".git").rglob("*") if path.is_file()]
    assert not [text for text in written if PASSWORD.encode() in text or quote(PASSWORD, safe="").encode() in text]
    detached = await checkout(await fetch(url_of(server, "v1", userinfo=userinfo), tmp_path, with_git=True))
    assert (git(detached, "rev-parse", "HEAD"), git(detached, "branch", "--show-current")) == (first, "")
    assert git(detached, "status", "--porcelain") == ""


@pytest.mark.slow
async def test_a_hanging_host_is_given_up_and_cancelling_leaves_nothing(server: GitServer, work: Work, tmp_path: Path):
    work.commit({"a": "1"})
    reached, held = asyncio.Event(), asyncio.Event()

    async def hang(request: web.Request) -> None:
        if request.path.endswith("/git-upload-pack"):
            reached.set()
            await held.wait()

    server.fault = hang
    with pytest.raises(UnavailableError):
        await fetch(url_of(server), tmp_path)
    reached.clear()
    fetching = asyncio.create_task(fetch(url_of(server), tmp_path))
    await reached.wait()
    assert running_in(tmp_path)
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    assert not running_in(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["served"]
    held.set()


def running_in(folder: Path) -> list[str]:
    """The processes that work in the folder, but those of the server."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if str((process / "cwd").readlink()).startswith(f"{folder}/fetched.git"):
                found.append((process / "cmdline").read_text())
    return found


def add_packed_refs(work: Work, commit: str, *names: str) -> None:
    lines = [f"{commit} {name}\n" for name in sorted(names)]
    (work.served / "packed-refs").write_text("# pack-refs with: peeled fully-peeled sorted\n" + "".join(lines))


async def test_branches_whose_names_need_many_folders_are_refused(server: GitServer, work: Work, tmp_path: Path):
    """For a pattern, git made 270,000 folders out of half a megabyte of names."""
    commit = work.commit({"a": "b"})
    add_packed_refs(work, commit, *(f"refs/heads/{number:03}{'/a' * 120}" for number in range(200)))
    assert await reason(url_of(server, commit[:8]), tmp_path) == "source_too_large"
    assert not [path for path in tmp_path.glob("fetched*") if path.is_dir()]


async def test_branch_with_a_name_of_a_thousand_folders_is_left_out(server: GitServer, work: Work, tmp_path: Path):
    """Python cannot remove such a folder: the build began again every second, and the clone stayed."""
    commit = work.commit({"a": "b"})
    add_packed_refs(work, commit, f"refs/heads/x{'/a' * 1500}", "refs/heads/other")
    assert (await fetch(url_of(server, commit[:8]), tmp_path)).commit == commit
    folder = await checkout(await fetch(url_of(server), tmp_path, with_git=True))
    assert "remotes/origin/other" in git(folder, "branch", "--all")
