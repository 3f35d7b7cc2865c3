"""A real S3 server on loopback: versitygw over a folder, with one key; tests stop and start it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import boto3

from tests.support.free_port import free_port

ACCESS_KEY, SECRET_KEY = "key", "secret"
_PROGRAM = Path(__file__).parents[2] / ".real" / "versitygw-1.8.0" / "versitygw"
_REGION = "us-east-1"


class ObjectServer:
    """The server; its objects survive its process."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, secret_key: str = SECRET_KEY) -> None:
        """Start it with this secret for its only key, and wait until it answers."""
        for name in ("accounts", "attributes", "objects"):
            (self._folder / name).mkdir(exist_ok=True)
        with (self._folder / "versitygw.out").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                _PROGRAM, "--port", f"127.0.0.1:{self.port}", "--region", _REGION, "--quiet",
                "--iam-dir", self._folder / "accounts",
                # Attributes in a folder of their own, because not every file system can store them with the objects.
                "posix", "--sidecar", self._folder / "attributes", self._folder / "objects",
                env={"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": secret_key},
                stdout=log, stderr=log,
            )  # fmt: skip
        while not await self._answers():
            assert self._process.returncode is None, (self._folder / "versitygw.out").read_text()
            await asyncio.sleep(0.03)

    async def stop(self) -> None:
        """Kill it; afterwards its port refuses connections."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def _answers(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except ConnectionError:
            return False
        writer.close()
        return True

    def make_bucket(self, name: str) -> None:
        """Create a bucket. Blocks for some milliseconds."""
        client = boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name=_REGION,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
        )
        client.create_bucket(Bucket=name)
        client.close()


@asynccontextmanager
async def running_object_server(folder: Path) -> AsyncIterator[ObjectServer]:
    """Start the server with its files in `folder`, and kill it at the end."""
    server = ObjectServer(folder)
    try:
        await server.start()
        yield server
    finally:
        await server.stop()
