"""The conformance suite of object stores, run against a real S3 server."""

import pytest
import pytest_asyncio

from shuttle.objects.s3 import S3Store
from tests.contract.test_objects import *  # noqa: F403 - the tests, and those fixtures that are not replaced below
from tests.real.object_server import ACCESS_KEY, SECRET_KEY, running_object_server


@pytest_asyncio.fixture(scope="session", loop_scope="session")  # type: ignore[no-redef]  # not the suite's
async def s3_endpoint(tmp_path_factory):
    """The server on which the suite's fixture creates its buckets."""
    async with running_object_server(tmp_path_factory.mktemp("s3")) as server:
        yield server.url


@pytest.fixture  # type: ignore[no-redef]  # not the suite's
async def store(s3_endpoint, s3_bucket):
    opened = S3Store(bucket=s3_bucket, access_key=ACCESS_KEY, secret_key=SECRET_KEY, location=s3_endpoint)
    yield opened
    await opened.close()


async def test_similar_names_are_different_objects(store, put):  # type: ignore[no-redef]  # not the suite's
    """This server stores objects as files; a file cannot also be a folder, and cannot be named `..`."""
    names = [
        *("u1", "u1/artifacts", "u1/artifacts/x", "u1.log", "U1", "u1/a%2Fb", "u2/a/b", "type"),
        *(f"u2/{'%C3%A4' * 40}", f"u2/{'x' * 250}"),
    ]
    for name in names:
        await put(name, name.encode())
    for name in names:
        assert await read(store, name) == name.encode()  # noqa: F405 - the suite's
    await store.delete("u1")
    assert await read(store, "u1/artifacts/x") == b"u1/artifacts/x"  # noqa: F405
    await store.delete("u1/artifacts/x")
    assert await store.head("u1/artifacts/x") is None
