"""A client in Go that go-swagger generates from the description of packer over REST, against the service."""

import asyncio
import json
import os
import shutil
from pathlib import Path

import pytest

from shuttle.web.packerd.swagger import document
from tests.support.inprocess import running_shuttle

CLIENT = Path(__file__).parent / "packerd_client"
SWAGGER = Path(__file__).parents[2] / ".real" / "swagger-0.36.7" / "swagger"
TOKEN = "controller-token-0001"
GIT_URL = "http://127.0.0.1:9/demo.git"


async def run(folder: Path, *command: str | Path) -> str:
    """Run the command in the folder; returns what it prints to its standard output."""
    environment = {**os.environ, "GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local"}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode()


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_generated_client_queues_reads_and_stops_a_build(tmp_path: Path):
    client = shutil.copytree(CLIENT, tmp_path / "client")
    (client / "swagger.json").write_text(json.dumps(document()))
    await run(client, SWAGGER, "generate", "client", "--quiet", "-f", "swagger.json")
    await run(client, "go", "build", "-o", "packerd_client", ".")
    async with running_shuttle(tmp_path, SHUTTLE_TOKENS=f"controller:{TOKEN}") as shuttle:
        shown = json.loads(await run(client, client / "packerd_client", f"127.0.0.1:{shuttle.port}", TOKEN, GIT_URL))
        request = shown["request"]
        href = f"/build/queue/{request['id']}"
        assert [link["rel"] for link in shown["accepted"]] == ["buildrequest", "buildresponses", "health"]
        assert (shown["empty"], shown["queue"]) == (True, [{"rel": "buildrequest", "href": href}])
        assert (request["giturl"], request["branch"]) == (GIT_URL, "main")
        assert shown["run"]["buildrequestid"] == request["id"]
        assert (shown["health"], shown["stopped"], shown["run"]["status"]) == ("err", "OK", "failed")
        assert shown["refused"] == {"code": 4, "message": "non-existiant build request"}
