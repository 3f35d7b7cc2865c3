"""Which reason a build gets when git cannot fetch its source, and when the host is tried again."""

import os
import shutil
from pathlib import Path

import pytest
from aiohttp import web

from shuttle.errors import BuildFailedError, LocalDiskError, UnavailableError
from shuttle.fetchers import source_fetchers
from shuttle.outgoing.connector import AddressPolicy, outgoing_session
from shuttle.settings import load_settings
from shuttle.sources.git_command import GitError
from shuttle.sources.git_faults import fault_of
from shuttle.sources.kinds.git import GitSource
from tests.support.certificates import loopback_tls
from tests.support.git_server import Fault, GitServer, Work, git, git_server
from tests.unit.sources.git_fetch import LIMITS, answering, fetch, link, link_only, reason, url_of


async def redirecting_calls(request: web.Request) -> web.Response | None:
    """git follows redirects of its first request only."""
    return web.Response(status=307, headers={"Location": "/other"}) if request.method == "POST" else None


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (answering(404), "source_not_found"),
        (answering(403), "source_unauthorized"),
        (answering(200, "<!doctype html><title>Log in</title>"), "source_not_git"),
        (answering(302, Location="/shop.git/info/refs?service=git-upload-pack"), "source_redirects"),
        (redirecting_calls, "source_redirects"),
        (answering(400), "source_failed"),
        (answering(503), "retry"),
        (
            answering(
                200,
                "001e# service=git-upload-pack\n0000",
                **{"Content-Type": "application/x-git-upload-pack-advertisement"},
            ),
            "retry",
        ),
    ],
    ids=["404", "403", "page", "redirect loop", "redirected call", "400", "503", "cut off"],
)
async def test_a_host_without_the_repository_gives_the_reason(
    server: GitServer, work: Work, tmp_path: Path, fault: Fault, expected: str
):
    work.commit({"a": "1"})
    server.fault = fault
    try:
        found = await reason(url_of(server), tmp_path)
    except UnavailableError:
        found = "retry"
    assert found == expected


@pytest.mark.parametrize("name", ["certificates", "redirects", "reset-connect"])
async def test_names_of_repositories_are_not_taken_for_words_of_git(server: GitServer, tmp_path: Path, name: str):
    server.repository(name).commit({"a": "1"})
    server.fault = answering(503)
    with pytest.raises(UnavailableError):
        await fetch(f"git+{server.url}/{name}.git", tmp_path)
    server.fault = answering(400)
    assert await reason(f"git+{server.url}/{name}.git", tmp_path) == "source_failed"


async def test_names_of_hosts_and_words_of_the_server_are_not_taken_for_words_of_git(
    server: GitServer, work: Work, tmp_path: Path
):
    server.fault = answering(302, Location="http://certificate.invalid/shop.git/info/refs?service=git-upload-pack")
    with pytest.raises(UnavailableError):
        await fetch(url_of(server), tmp_path)
    server.fault = answering(
        200,
        "001e# service=git-upload-pack\n00000016ERR no certificate",
        **{"Content-Type": "application/x-git-upload-pack-advertisement"},
    )
    assert await reason(url_of(server), tmp_path) == "source_failed"


async def test_a_host_that_breaks_off_behind_a_redirect_is_tried_again(server: GitServer, work: Work, tmp_path: Path):
    work.commit({"a": "1"})

    async def redirect(request: web.Request) -> web.Response | None:
        if request.path.startswith("/old/"):
            return web.Response(status=301, headers={"Location": request.path_qs.removeprefix("/old")})
        return web.Response(status=503) if request.method == "POST" else None

    server.fault = redirect
    with pytest.raises(UnavailableError):
        await fetch(f"git+{server.url}/old/shop.git", tmp_path)


async def test_the_dumb_protocol_is_refused(server: GitServer, work: Work, tmp_path: Path):
    work.commit({"a": "1"})
    git(work.served, "update-server-info")

    async def file(request: web.Request) -> web.StreamResponse:
        path = server.folder / request.path.lstrip("/")
        return web.FileResponse(path) if path.is_file() else web.Response(status=404)

    server.fault = file
    assert await reason(url_of(server), tmp_path) == "source_not_git"


async def test_certificate_of_an_unknown_ca_is_refused(tmp_path: Path):
    tls, ca_file = loopback_tls(tmp_path)
    (tmp_path / "served").mkdir()
    async with git_server(tmp_path / "served", tls) as server:
        commit = server.repository().commit({"a": "1"})
        assert await reason(url_of(server), tmp_path) == "source_untrusted"
        assert (await fetch(url_of(server), tmp_path, ca_file=ca_file)).commit == commit


async def test_cas_are_trusted_after_the_machine_has_removed_its_old_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Before, all clones over TLS failed from then on, until the service was started again."""
    tls, ca_file = loopback_tls(tmp_path)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    settings = load_settings(
        {"SHUTTLE_DATA_DIR": str(tmp_path), "SHUTTLE_CA_FILE": str(ca_file), "JENKINS_URL": "http://jenkins.example/"}
    )
    (tmp_path / "served").mkdir()
    policy = AddressPolicy(allow_loopback=True)
    async with (
        git_server(tmp_path / "served", tls) as server,
        outgoing_session(policy) as session,
        source_fetchers(session, policy, settings) as fetchers,
    ):
        commit = server.repository().commit({"a": "1"})
        shutil.rmtree(tmp_path / "temporary")
        source = GitSource.read(url_of(server))
        assert (await fetchers[GitSource].fetch(source, tmp_path / "fetched", LIMITS)).commit == commit


async def test_a_repository_with_sha256_ids_is_named(server: GitServer, tmp_path: Path):
    git(server.folder, "init", "--quiet", "--initial-branch=main", "--object-format=sha256", "shop.git")
    git(server.folder / "shop.git", "commit", "--quiet", "--allow-empty", "--message", "c")
    with pytest.raises(BuildFailedError, match="SHA-256"):
        await fetch(url_of(server), tmp_path)


@pytest.mark.parametrize(
    ("status", "text", "error"),
    [
        (128, "fatal: write error: No space left on device", LocalDiskError),
        (128, "fatal: write error: Disk quota exceeded\nfatal: fetch-pack: invalid index-pack output", LocalDiskError),
        (128, "error: could not write config file ./config: Read-only file system", LocalDiskError),
        (128, "fatal: cannot fork() for index-pack: Resource temporarily unavailable", UnavailableError),
        (128, "error: cannot fork to run git: Cannot allocate memory", UnavailableError),
        (128, "error: index-pack died of signal 9\nfatal: fetch-pack: invalid index-pack output", UnavailableError),
        (-9, "", UnavailableError),
        (-11, "", BuildFailedError),
        (128, "fatal: index-pack died of signal 11", BuildFailedError),
        (128, "fatal: Out of memory, malloc failed (tried to allocate 1 bytes)", BuildFailedError),
        (128, "fatal: remote error: x: No space left on device", BuildFailedError),
        (128, "fatal: unable to access 'https://a/: No space left on device", BuildFailedError),
    ],
)
def test_a_fault_of_the_machine_is_tried_again(status: int, text: str, error: type[Exception]):
    """Before, a full disk or a kill ended the build: `source_failed` or `source_too_large`."""
    assert type(fault_of(GitError(status, text), "https://a", None)) is error


@pytest.mark.parametrize("command", ["archive", "cat-file", "config --no-includes", "rev-parse"])
async def test_a_command_of_git_that_is_killed_is_tried_again(
    server: GitServer, work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
):
    link(work, "lib", "../lib.git")
    work.commit({"folder/a": "1", ".gitmodules": ""})
    link_only(work, "lib")
    found = shutil.which("git")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "git").write_text(
        f'#!/bin/sh\ncase "$*" in "{command} "*) kill -9 $$ ;; esac\nexec {found} "$@"\n'
    )
    (tmp_path / "bin" / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    with pytest.raises(UnavailableError):
        await fetch(url_of(server), tmp_path, submodules=True, subdir="folder")
