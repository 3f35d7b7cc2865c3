"""Runs git for untrusted repositories: without the machine's configuration and hooks, and with limits."""

import asyncio
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from shuttle.errors import BuildFailedError
from shuttle.outgoing.userinfo import Credentials

# A pack is one file, and so is the archive: the limit of a file's size is the limit of the source.
_LIMITED = 'ulimit -f "$1" && ulimit -v "$2" && shift 2 && exec git "$@"'
_FILE_BLOCK_BYTES = 512
# index-pack holds an object and its delta in memory. Larger blobs than `core.bigFileThreshold` are streamed.
_MEMORY_KIB = 2 * 1024 * 1024
_MAX_STDERR_BYTES = 64 * 1024
_READ_BYTES = 64 * 1024

# The settings that are the same for every repository. The repository is bare, so git writes no file outside of it.
_CONFIGURATION = {
    "core.hooksPath": os.devnull,
    "core.bigFileThreshold": "16m",
    "core.packedGitWindowSize": "32m",
    "core.packedGitLimit": "256m",
    "fetch.unpackLimit": "1",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "pack.threads": "1",
    "protocol.version": "2",
    "submodule.recurse": "false",
    "tar.umask": "0022",
    "credential.helper": "",
}
# User and password are in the environment: others can read a command line or a configuration file more easily.
_CREDENTIALS = (
    '!f() { test "$1" = get && printf "username=%s\\npassword=%s\\n" "$SHUTTLE_GIT_USER" "$SHUTTLE_GIT_PASSWORD"; }; f'
)


class GitError(Exception):
    """git has failed; `text` is what it wrote to stderr, without the lines that the server sent."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"git ended with exit status {status}")
        self.status = status
        self.text = text


class TooLargeError(Exception):
    """A file or the output of git has reached its limit."""


@dataclass(frozen=True, slots=True)
class Access:
    """How git reaches hosts: through the proxy at `proxy_url`, which checks addresses.

    `ca_file` holds all CAs that are trusted; None = the system's. A host that sends less than a byte a second for
    `stall_seconds` is given up.
    """

    proxy_url: str
    stall_seconds: float
    ca_file: Path | None = None


class Repository:
    """A bare repository in `folder`. All packs together have at most `max_bytes`, and so has the archive."""

    def __init__(self, folder: Path, access: Access, max_bytes: int) -> None:
        self.folder = folder
        self._access = access
        self._max_bytes = max_bytes

    async def create(self) -> None:
        """Make the repository."""
        self.folder.mkdir()
        await self.run("init", "--bare", "--quiet", "--template=", ".")
        # Overrides attributes in the tree, which could leave files out of the archive, or change them.
        (self.folder / "info").mkdir(exist_ok=True)
        (self.folder / "info" / "attributes").write_text("* -export-ignore -export-subst\n")

    async def run(
        self,
        *arguments: str,
        credentials: tuple[str, Credentials] | None = None,
        environment: Mapping[str, str] | None = None,
        max_output_bytes: int = 1024 * 1024,
        adds_pack: bool = False,
        stdin: Path | None = None,
    ) -> bytes:
        """Run git; returns what it prints. It reads the file `stdin`. A cancelled call kills git and its children.

        `credentials` are a URL and the credentials for its origin. A file that git writes may have `max_bytes`; with
        `adds_pack`, the size of the files that the repository has already is subtracted from that.

        Raises:
            GitError: another exit status than 0. TooLargeError: more than `max_output_bytes` of output, or a file
                above its limit.
            BuildFailedError: `source_failed`, there is no git on this machine.
        """
        before = await asyncio.to_thread(self._sizes)
        used_bytes = sum(before.values()) if adds_pack else 0
        blocks = max(self._max_bytes - used_bytes, 0) // _FILE_BLOCK_BYTES + 1
        with (stdin or Path(os.devnull)).open("rb") as given:
            process = await asyncio.create_subprocess_exec(
                *("/bin/sh", "-c", _LIMITED, "git", str(blocks), str(_MEMORY_KIB), *arguments),
                cwd=self.folder,
                env={**self._environment(credentials), **(environment or {})},
                stdin=given,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        try:
            reading = asyncio.create_task(_tail(cast("asyncio.StreamReader", process.stderr)))
            output = await _bounded(cast("asyncio.StreamReader", process.stdout), max_output_bytes)
            text = _own_lines(await reading)
            status = await process.wait()
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            raise
        if status == 127:
            raise BuildFailedError("source_failed", "There is no git on the machine of the shuttle; install it.")
        if status != 0:
            # The kernel kills a process that writes beyond the limit, and nothing on stderr says so.
            written = dict((await asyncio.to_thread(self._sizes)).items() - before.items())
            if max(written.values(), default=-1) >= (blocks - 1) * _FILE_BLOCK_BYTES:
                raise TooLargeError
            raise GitError(status, text)
        return output

    async def line(self, *arguments: str) -> str:
        """The first line that git prints."""
        return (await self.run(*arguments)).decode(errors="replace").partition("\n")[0]

    def _sizes(self) -> dict[Path, int]:
        return {file: file.stat().st_size for file in self.folder.rglob("*") if file.is_file()}

    def _environment(self, credentials: tuple[str, Credentials] | None) -> dict[str, str]:
        configuration = {
            **_CONFIGURATION,
            "http.proxy": self._access.proxy_url,
            "http.lowSpeedLimit": "1",
            "http.lowSpeedTime": str(max(1, round(self._access.stall_seconds))),
        }
        if self._access.ca_file is not None:
            configuration["http.sslCAInfo"] = str(self._access.ca_file)
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.folder),
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_DIR": ".",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "",
            "GIT_ALLOW_PROTOCOL": "http:https",
            "GIT_AUTHOR_NAME": "shuttle",
            "GIT_AUTHOR_EMAIL": "shuttle",
            "GIT_COMMITTER_NAME": "shuttle",
            "GIT_COMMITTER_EMAIL": "shuttle",
        }
        if credentials is not None:
            url, pair = credentials
            parts = urlsplit(url)
            configuration[f"credential.{parts.scheme}://{parts.netloc}.helper"] = _CREDENTIALS
            environment |= {"SHUTTLE_GIT_USER": pair.user, "SHUTTLE_GIT_PASSWORD": pair.password}
        for position, (name, value) in enumerate(configuration.items()):
            environment |= {f"GIT_CONFIG_KEY_{position}": name, f"GIT_CONFIG_VALUE_{position}": value}
        return environment | {"GIT_CONFIG_COUNT": str(len(configuration))}


async def _bounded(reader: asyncio.StreamReader, max_bytes: int) -> bytes:
    output = bytearray()
    while chunk := await reader.read(_READ_BYTES):
        output += chunk
        if len(output) > max_bytes:
            raise TooLargeError
    return bytes(output)


async def _tail(reader: asyncio.StreamReader) -> bytes:
    tail = b""
    while chunk := await reader.read(_READ_BYTES):
        tail = (tail + chunk)[-_MAX_STDERR_BYTES:]
    return tail


def clone_folder(into: Path) -> Path:
    """The folder of the clone while `into` is being made."""
    return into.with_name(f"{into.name}.git")


def _own_lines(text: bytes) -> str:
    """git's own lines, without those that the server sent, which could look like an error of git."""
    lines = text.decode(errors="replace").splitlines()
    return "\n".join(line for line in lines if not line.startswith("remote:"))
