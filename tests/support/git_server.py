"""A git server on loopback: `git http-backend` behind aiohttp, with a password and the faults that tests want."""

import asyncio
import base64
import os
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from ssl import SSLContext

from aiohttp import web

from tests.support.serving import serving

USER, PASSWORD = "reader", "p@ss:w/rd-of-git"
# Nothing of the machine's configuration, and the same commits in every run.
_ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.com",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.com",
    "GIT_AUTHOR_DATE": "1700000000 +0000",
    "GIT_COMMITTER_DATE": "1700000000 +0000",
}
Fault = Callable[[web.Request], Awaitable[web.StreamResponse | None]]


def git(folder: Path, *arguments: str, text: str | None = None) -> str:
    """Run git in the folder; returns what it prints."""
    ran = subprocess.run(
        ("git", "-c", "protocol.file.allow=always", *arguments),
        cwd=folder, env=_ENVIRONMENT, input=text, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


class Work:
    """A repository with files that can be committed; `served` is its bare copy, which the server has."""

    def __init__(self, served: Path) -> None:
        self.folder = served.with_suffix(".work")
        self.served = served
        git(served.parent, "init", "--quiet", "--initial-branch=main", str(self.folder))
        git(served.parent, "init", "--quiet", "--bare", "--initial-branch=main", str(served))

    def commit(self, files: Mapping[str, str], branch: str = "main") -> str:
        """Commit the files on the branch, and push; returns the commit."""
        if git(self.folder, "branch", "--show-current") != branch:
            git(self.folder, "checkout", "--quiet", "-B", branch)
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
            path.chmod(0o755 if content.startswith("#!") else 0o644)
        git(self.folder, "add", "--all")
        git(self.folder, "commit", "--quiet", "--allow-empty", "--message", "c")
        return self.push()

    def push(self) -> str:
        """Push all branches and tags; returns the current commit."""
        git(self.folder, "push", "--quiet", "--force", "--tags", str(self.served), "HEAD", "refs/heads/*:refs/heads/*")
        return git(self.folder, "rev-parse", "HEAD")


@dataclass
class GitServer:
    """`url` has neither credentials nor the name of a repository. `asked` are the paths of all requests.

    A server that `gives_commits` sends any commit by its id; others send what a ref points to.
    """

    folder: Path
    url: str = ""
    with_password: bool = False
    gives_commits: bool = True
    fault: Fault | None = None
    asked: list[str] = field(default_factory=list)

    def repository(self, name: str = "shop") -> Work:
        """A new repository, served at `<url>/<name>.git`."""
        return Work(self.folder / f"{name}.git")

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer as git's CGI program does."""
        self.asked.append(request.path)
        if self.fault is not None and (response := await self.fault(request)) is not None:
            return response
        expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.with_password and request.headers.get("Authorization") != expected:
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="git"'})
        return await self._backend(request, await request.read())  # aiohttp has decompressed it

    async def _backend(self, request: web.Request, body: bytes) -> web.Response:
        process = await asyncio.create_subprocess_exec(
            "git",
            "http-backend",
            env=_ENVIRONMENT
            | {
                "GIT_PROJECT_ROOT": str(self.folder),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_PROTOCOL": request.headers.get("Git-Protocol", "") if self.gives_commits else "",
                "REQUEST_METHOD": request.method,
                "PATH_INFO": request.path,
                "QUERY_STRING": request.query_string,
                "CONTENT_TYPE": request.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
            },
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate(body)
        head, _, content = output.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if line)
        status = int(headers.pop("Status", "200").split()[0])
        return web.Response(status=status, headers=headers, body=content)


@asynccontextmanager
async def git_server(folder: Path, tls: SSLContext | None = None) -> AsyncIterator[GitServer]:
    """Serve the repositories that tests make in the folder."""
    server = GitServer(folder)
    app = web.Application(client_max_size=0)
    app.router.add_route("*", "/{path:.*}", server.answer)
    async with serving(app, tls) as url:
        server.url = url
        yield server
