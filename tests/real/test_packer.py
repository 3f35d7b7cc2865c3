"""The packer-image pipeline with packer itself, and its docker builder with a docker daemon and a registry.

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
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.real.registry import busybox
from tests.support.free_port import free_port
from tests.unit.pipelines.agent import Agent
from tests.unit.pipelines.packer_cases import *  # noqa: F403 - the tests that the stand-in passes, too
from tests.unit.pipelines.packer_cases import reason, run, shuttle

HCL = """\
variable "fruit" {
  default = "banana"
}
variable "name" {
  type = string
}
source "file" "out" {
  content = "${var.fruit} for ${var.name}"
  target  = "out/text.txt"
}
build {
  name    = "img"
  sources = ["source.file.out"]
}
"""
# Commit, tag and push as packerd's demo repository does, with a base and a registry of this machine.
DOCKER = {
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


@pytest.fixture
def packer_agent(tmp_path: Path) -> Iterator[Agent]:
    agent = Agent(tmp_path, "dash")
    agent.give("packer", "docker", "readlink")
    yield agent
    agent.clean_up()


async def test_hcl_template_in_the_folder_of_the_source(packer_agent: Agent) -> None:
    api = shuttle(template=".", files={"image.pkr.hcl": HCL}, only="img.file.*,other")
    ended = await run(packer_agent, api)
    assert ended.status == 0, ended.console + api.log
    assert api.artifacts == {"out/text.txt": b"banana for you"}
    assert "-----> The template has no builders of these names: other\n" in api.log


async def test_hcl_template_that_asks_for_plugins_is_built_by_a_packer_without_init(packer_agent: Agent) -> None:
    api = shuttle(template="i.pkr.hcl", files={"i.pkr.hcl": "# packer { required_plugins {} }\n" + HCL})
    ended = await run(packer_agent, api)
    assert ended.status == 0, ended.console + api.log
    assert "Usage" not in api.log


@pytest.mark.parametrize(
    ("options", "expected", "sentence"),
    [
        ({"arguments": {}}, "variable_missing", "requires a value of: name;"),
        ({"only": "typo"}, "no_such_builder", "no builder of the name typo; it has: img.file.out."),
    ],
)
async def test_missing_variable_and_unknown_builder_of_hcl_are_reported(
    packer_agent: Agent, options: dict[str, Any], expected: str, sentence: str
) -> None:
    api = shuttle(template="image.pkr.hcl", files={"image.pkr.hcl": HCL}, **options)
    assert (await run(packer_agent, api)).status != 0
    assert reason(api)[0] == expected, api.log
    assert sentence in reason(api)[1]


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


async def test_docker_image_is_built_tagged_pushed_and_removed_from_the_agent(packer_agent: Agent) -> None:
    async with docker_and_registry() as (host, registry):
        packer_agent.environment |= {"DOCKER_HOST": host}
        api = shuttle(DOCKER, arguments={"docker_repo_server": registry, "version": "0.21"})
        ended = await run(packer_agent, api)
        assert ended.status == 0, ended.console + api.log
        tagged = f"{registry}/org/role:0.21"
        async with aiohttp.ClientSession() as session:
            headers = {"Accept": "application/vnd.docker.distribution.manifest.v2+json"}
            url = f"http://{registry}/v2/org/role/manifests/0.21"
            async with session.get(url, headers=headers) as answer:
                digest = answer.headers["Docker-Content-Digest"]
        report = api.reports["built"]
        assert (report["image"], report["digest"]) == (tagged, digest)
        found = [(one["type"], one["location"].partition(":")[0]) for one in report["artifacts"]]
        assert found[0] == ("packer.post-processor.docker-import", "sha256")
        assert report["artifacts"][1:] == [
            {"type": "packer.post-processor.docker-tag", "location": tagged, "state": 50}
        ]
        _, images = await docker(host, "images", "--all", "--format", "{{.Repository}}:{{.Tag}}")
        assert images == "base:1\n"
        assert "    docker-ubuntu: provisioned\n" in api.log
        missing = shuttle(DOCKER, arguments={"version": "0.21"})
        await run(packer_agent, missing)
        assert reason(missing)[0] == "variable_missing"
        assert "docker_repo_server" in reason(missing)[1]
