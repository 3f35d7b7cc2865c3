"""A docker daemon and a registry for templates of packer, as processes of the test.

The daemon needs no bridge, no iptables and no overlay: images are copied (vfs), and containers have no network.
"""

import asyncio
import io
import json
import os
import shutil
import signal
import socket
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.real.registry import busybox
from tests.support.free_port import free_port

# Commit, tag and push as packerd's demo repository does, with a base and a registry of this machine.
DOCKER: dict[str, Any] = {
    "variables": {"docker_repo_server": None, "version": "0.1"},
    "builders": [
        {
            "type": "docker",
            "name": "docker-ubuntu",
            "image": "base:1",
            "commit": True,
            "pull": False,
            "run_command": ["-d", "-i", "-t", "--network=none", "{{.Image}}", "/bin/sh"],
        }
    ],
    "provisioners": [{"type": "shell-local", "inline": ["echo provisioned"]}],
    "post-processors": [
        [
            {
                "type": "docker-tag",
                "repository": "{{user `docker_repo_server`}}/org/role",
                "tag": ["{{user `version`}}"],
            },
            {"type": "docker-push"},
        ]
    ],
}


@asynccontextmanager
async def running(*command: str, log: Path, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the program, and end it."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=output, stderr=output, start_new_session=True, env={**os.environ, **environment}
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            await process.wait()


async def docker(host: str, *words: str, given: bytes = b"") -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        "docker", *words, env={**os.environ, "DOCKER_HOST": host},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate(given)
    assert process.returncode is not None
    return process.returncode, output.decode()


@asynccontextmanager
async def docker_daemon(folder: Path, *command: str) -> AsyncIterator[None]:
    """Run the daemon, from the moment when it says that it is ready, as it does to systemd."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as notices:
        notices.bind(f"{folder}/notices")
        async with running(*command, log=folder / "docker.log", NOTIFY_SOCKET=f"{folder}/notices") as daemon:
            ready = asyncio.create_task(asyncio.get_running_loop().sock_recv(notices, 4096))
            ended = asyncio.create_task(daemon.wait())
            await asyncio.wait({ready, ended}, timeout=30, return_when=asyncio.FIRST_COMPLETED)
            if not ready.done() or b"READY=1" not in ready.result():
                pytest.fail(f"No docker daemon can run here:\n{(folder / 'docker.log').read_text()[-2000:]}")
            yield


def base_image() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name in ("bin/busybox", "bin/sh"):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(busybox()), 0o755
            archive.addfile(entry, io.BytesIO(busybox()))
    return packed.getvalue()


@asynccontextmanager
async def docker_and_registry() -> AsyncIterator[tuple[str, str]]:
    """A docker daemon with the image base:1, and a registry; yields their addresses. Its socket needs a short path."""
    folder = Path("/tmp") / f"shuttle-docker-{os.getpid()}"
    folder.mkdir(mode=0o700)
    host, registry = f"unix://{folder}/socket", f"127.0.0.1:{free_port()}"
    config = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(folder / "registry")}},
        "http": {"addr": registry},
    }
    (folder / "registry.yml").write_text(json.dumps(config))
    daemon = (
        *("dockerd", "--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec", "--host", host),
        *("--pidfile", f"{folder}/pid", "--storage-driver", "vfs", "--bridge", "none", "--iptables=false"),
        "--ip6tables=false",
    )
    try:
        async with (
            running("docker-registry", "serve", f"{folder}/registry.yml", log=folder / "registry.log"),
            docker_daemon(folder, *daemon),
        ):
            assert (await docker(host, "import", "-", "base:1", given=base_image()))[0] == 0
            yield host, registry
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def digest_of(registry: str) -> str | None:
    """The digest of the image that DOCKER pushes as version 0.21; None if the registry does not have it."""
    headers = {"Accept": "application/vnd.docker.distribution.manifest.v2+json"}
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{registry}/v2/org/role/manifests/0.21", headers=headers) as answer,
    ):
        return answer.headers.get("Docker-Content-Digest")
