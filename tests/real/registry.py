"""A real registry on loopback that needs a password."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.free_port import free_port

USER, PASSWORD = "builder", "pass word:&%-of-the-registry"
AUTHORIZATION = {"Authorization": aiohttp.encode_basic_auth(USER, PASSWORD)}


class Registry:
    """A docker-registry on loopback with one user."""

    def __init__(self, port: int) -> None:
        self.host = f"127.0.0.1:{port}"

    async def manifest(self, name: str, tag: str) -> tuple[str, dict[str, Any]]:
        """The digest and the manifest, from the registry itself."""
        address = f"http://{self.host}/v2/{name}/manifests/{tag}"
        headers = {"Accept": "application/vnd.oci.image.manifest.v1+json", **AUTHORIZATION}
        async with aiohttp.ClientSession() as session, session.get(address, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            return answer.headers["Docker-Content-Digest"], await answer.json(content_type=None)

    async def config(self, name: str, tag: str) -> dict[str, Any]:
        """The image's configuration: its command, labels and history."""
        _, manifest = await self.manifest(name, tag)
        address = f"http://{self.host}/v2/{name}/blobs/{manifest['config']['digest']}"
        async with aiohttp.ClientSession() as session, session.get(address, headers=AUTHORIZATION) as answer:
            config: dict[str, Any] = json.loads(await answer.read())
            return config


def busybox() -> bytes:
    """A program that needs no other files."""
    found = shutil.which("busybox")
    assert found is not None, "run tests/real/install first"
    return Path(found).read_bytes()


@asynccontextmanager
async def running_registry(folder: Path) -> AsyncIterator[Registry]:
    """Start the registry with its files in `folder`, and end it."""
    passwords = await asyncio.create_subprocess_exec(
        "htpasswd", "-Bbni", USER, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    line, _ = await passwords.communicate(PASSWORD.encode())
    (folder / "htpasswd").write_bytes(line)
    port = free_port()
    config = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(folder / "registry")}},
        "http": {"addr": f"127.0.0.1:{port}"},
        "auth": {"htpasswd": {"realm": "tests", "path": str(folder / "htpasswd")}},
    }
    (folder / "registry.yml").write_text(json.dumps(config))
    server = await asyncio.create_subprocess_exec(
        "docker-registry", "serve", folder / "registry.yml",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert server.stderr is not None
    while b"listening on" not in (line := await server.stderr.readline()):
        assert line, "the registry did not start"
    drained = asyncio.create_task(server.stderr.read())
    try:
        yield Registry(port)
    finally:
        server.terminate()
        await server.wait()
        await drained
