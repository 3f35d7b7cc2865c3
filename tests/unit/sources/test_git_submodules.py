"""Submodules of git sources: which are fetched, and what their faults are called."""

from pathlib import Path
from urllib.parse import quote

import pytest

from shuttle.errors import BuildFailedError, UnavailableError
from tests.support.git_server import PASSWORD, USER, GitServer, Work, git, git_server
from tests.unit.sources.git_fetch import answering, checkout, fetch, files, link, link_only, reason, url_of


@pytest.mark.slow
async def test_submodules_are_fetched_on_request(server: GitServer, work: Work, tmp_path: Path):
    inner, library = server.repository("inner"), server.repository("library")
    inner_commit = inner.commit({"deep.txt": "d"})
    library.commit({"lib.txt": "old"})
    library_commit = link(library, "in/ner", f"{server.url}/inner.git", inner_commit)
    library.commit({"lib.txt": "newer than the link"})
    work.commit({"build.sh": "#!/bin/sh\n"})
    link(work, "third/lib", "../library.git", library_commit)
    without = await files(await fetch(url_of(server), tmp_path))
    assert sorted(without) == [".gitmodules", "build.sh"]
    fetched = await fetch(url_of(server), tmp_path, submodules=True)
    found = await files(fetched)
    assert (found["third/lib/lib.txt"], found["third/lib/in/ner/deep.txt"]) == ("old", "d")
    assert (await fetch(url_of(server), tmp_path, submodules=True)).sha256 == fetched.sha256
    assert "lib.txt" in await files(await fetch(url_of(server), tmp_path, submodules=True, subdir="third/lib"))
    link(work, "other", "git@example.com:team/x.git")
    assert await reason(url_of(server), tmp_path, submodules=True) == "source_refused"


@pytest.mark.slow
async def test_a_fault_names_the_submodule(server: GitServer, work: Work, tmp_path: Path):
    """Its URL may be on another host, to which the credentials of the source are not sent."""
    first, library = work.commit({"a": "1"}), server.repository("library")
    commit = library.commit({"l": "1"})
    wrong = f"{USER}:{quote(PASSWORD, safe='')}x@"

    async def fault(url: str, linked: str = commit) -> tuple[str, str]:
        git(work.folder, "reset", "--quiet", "--hard", first)
        link(work, "lib", url, linked)
        with pytest.raises(BuildFailedError) as caught:
            await fetch(url_of(server), tmp_path, submodules=True)
        return caught.value.reason, caught.value.message.partition(" has ")[0].partition(" asks ")[0]

    shown = f"The submodule {server.url}/library.git"
    assert await fault("../library.git", "1" * 40) == ("source_ref_not_found", shown)
    assert await fault("../no.git") == ("source_not_found", f"The submodule {server.url}/no.git does not exist.")
    async with git_server(server.folder) as other:
        other.with_password = True
        url = f"{other.url}/library.git"
        for given in (url, url.replace("//", f"//{wrong}")):
            assert await fault(given) == ("source_unauthorized", f"The submodule {url}")
        assert (await fault(url.replace("//", f"//{wrong}"), "1" * 40))[1] == f"The submodule {url}"
        other.fault = answering(503)
        with pytest.raises(UnavailableError, match=f"^The submodule {url} cannot"):
            await fetch(url_of(server), tmp_path, submodules=True)


async def test_settings_of_submodules_include_no_file_of_this_machine(server: GitServer, work: Work, tmp_path: Path):
    """Before, the included file could name the URL."""
    (tmp_path / "machine").write_text(f'[submodule "lib"]\n\turl = {server.url}/of-the-machine.git\n')
    work.commit({".gitmodules": f'[submodule "lib"]\n\tpath = lib\n[include]\n\tpath = {tmp_path}/machine\n'})
    link_only(work, "lib")
    assert sorted(await files(await fetch(url_of(server), tmp_path, submodules=True))) == [".gitmodules"]
    assert not [path for path in server.asked if "of-the-machine" in path]


async def test_settings_of_submodules_that_git_cannot_read_are_refused(server: GitServer, work: Work, tmp_path: Path):
    """Before, the build ran with empty submodules, also if git was killed while it read the settings."""
    work.commit({"a": "1"})
    link_only(work, "lib")
    assert sorted(await files(await fetch(url_of(server), tmp_path, submodules=True))) == ["a"]
    work.commit({".gitmodules": "[submodule"})
    link_only(work, "lib")
    assert await reason(url_of(server), tmp_path, submodules=True) == "source_refused"


@pytest.mark.slow
async def test_branches_of_a_submodule_are_none_of_the_source(server: GitServer, work: Work, tmp_path: Path):
    """They are fetched if the server does not give a commit by its id."""
    server.gives_commits = False
    library = server.repository("library")
    commit = library.commit({"l": "1"}, "main/old")
    library.commit({"l": "2"}, "main/old")
    work.commit({"a": "1"})
    link(work, "lib", "../library.git", commit)
    fetched = await fetch(url_of(server), tmp_path, submodules=True, with_git=True)
    found = await checkout(fetched)
    assert (found / "lib" / "l").read_text() == "1"
    assert git(found, "branch", "--all", "--format=%(refname)").split() == [
        "refs/heads/main",
        "refs/remotes/origin/main",
    ]
