"""The contract of an object store; both implementations have to pass these tests."""

import asyncio
import hashlib
from uuid import uuid4

import pytest

from shuttle.errors import ObjectNotFoundError
from shuttle.objects import FilePart, ObjectStore
from shuttle.objects.directory import DirectoryStore
from shuttle.objects.s3 import S3Store
from tests.support.s3_server import bucket_of, s3_server


@pytest.fixture(scope="session")
def s3_endpoint():
    """The endpoint of moto's S3 server, which is used over HTTP."""
    with s3_server() as endpoint:
        yield endpoint


@pytest.fixture
def s3_bucket(s3_endpoint):
    """The name of a new bucket."""
    with bucket_of(s3_endpoint) as (bucket, _):
        yield bucket


@pytest.fixture(params=["directory", "s3"])
async def store(request, tmp_path):
    opened: ObjectStore
    if request.param == "directory":
        opened = DirectoryStore(tmp_path / "objects")
    else:
        endpoint, bucket = request.getfixturevalue("s3_endpoint"), request.getfixturevalue("s3_bucket")
        opened = S3Store(bucket=bucket, access_key="key", secret_key="secret", location=endpoint)
    yield opened
    await opened.close()


@pytest.fixture
def put(store, tmp_path):
    """A function that stores bytes under a name."""

    async def put_bytes(name, content, content_type="text/plain"):
        path = tmp_path / uuid4().hex
        path.write_bytes(content)
        await store.put(name, path, content_type=content_type)
        path.unlink()

    return put_bytes


async def read(store, name, **wanted):
    async with store.open(name, **wanted) as opened:
        return b"".join([chunk async for chunk in opened.chunks])


async def test_object_is_read_back_with_its_size_and_type(store, put):
    await put("u1", b"hello", "application/gzip")
    async with store.open("u1") as opened:
        assert (opened.size_bytes, opened.content_type) == (5, "application/gzip")
        assert b"".join([chunk async for chunk in opened.chunks]) == b"hello"
    info = await store.head("u1")
    assert (info.size_bytes, info.content_type) == (5, "application/gzip")


@pytest.fixture
def unreachable_proxy(s3_bucket, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


async def test_proxy_of_the_environment_is_not_used(unreachable_proxy, store, put):
    await put("a/source", b"bytes")
    assert (await store.head("a/source")).size_bytes == 5


async def test_second_put_replaces_bytes_and_type(store, put):
    await put("u1", b"a long first version", "text/plain")
    await put("u1", b"short", "text/html")
    assert await read(store, "u1") == b"short"
    assert (await store.head("u1")).content_type == "text/html"


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [
        (0, None, b"0123456789"),
        (3, None, b"3456789"),
        (3, 4, b"3456"),
        (0, 0, b""),
        (8, 100, b"89"),
        (10, None, b""),
        (99, 5, b""),
        (9, 1, b"9"),
    ],
)
async def test_range_of_an_object_is_read(store, put, start, length, expected):
    await put("u1", b"0123456789")
    async with store.open("u1", start=start, length=length) as opened:
        assert opened.size_bytes == 10
        assert b"".join([chunk async for chunk in opened.chunks]) == expected


async def test_empty_object_is_stored(store, put):
    await put("u1.log", b"")
    assert (await store.head("u1.log")).size_bytes == 0
    assert await read(store, "u1.log") == b""
    assert await read(store, "u1.log", start=5) == b""


async def test_missing_object_is_reported(store):
    assert await store.head("absent") is None
    await store.delete("absent")
    with pytest.raises(ObjectNotFoundError):
        await read(store, "absent")
    with pytest.raises(ObjectNotFoundError):
        await read(store, "absent/artifacts/x", start=3)


async def test_deleted_object_is_missing(store, put):
    await put("u1/artifacts/a", b"a")
    await put("u1/artifacts/b", b"b")
    await store.delete("u1/artifacts/a")
    assert await store.head("u1/artifacts/a") is None
    assert await read(store, "u1/artifacts/b") == b"b"
    await store.delete("u1/artifacts/b")
    await put("u1/artifacts/b", b"again")
    assert await read(store, "u1/artifacts/b") == b"again"


async def test_similar_names_are_different_objects(store, put):
    """A name may be the beginning of another, differ only by case, or look like a path."""
    names = [
        *("u1", "u1/artifacts", "u1/artifacts/x", "u1.log", "U1", "u1/a%2Fb", "u1/a/b", "u1/a%252Fb", "type", "~"),
        *("u1/..", "u1/.", "..", f"u1/{'%C3%A4' * 120}", f"u1/{'%C3%A4' * 121}", f"u1/{'x' * 250}"),
    ]
    for name in names:
        await put(name, name.encode())
    for name in names:
        assert await read(store, name) == name.encode()
    await store.delete("u1")
    assert await read(store, "u1/artifacts/x") == b"u1/artifacts/x"


@pytest.mark.parametrize("name", ["", "/", "a//b", "/a", "a/", "a b", "a\n", "a=b", "ä", "a\x00"])
async def test_invalid_names_are_refused(store, put, name):
    with pytest.raises(ValueError, match="segments"):
        await put(name, b"")
    with pytest.raises(ValueError, match="segments"):
        await store.head(name)


@pytest.mark.parametrize(("start", "size_bytes"), [(0, 4), (3, 4), (7, 3), (10, 0)])
async def test_part_of_a_growing_file_is_stored(store, tmp_path, start, size_bytes):
    path = tmp_path / "growing"
    path.write_bytes(b"0123456789")
    await store.put_part("u1.log.0-4", path, FilePart(start, size_bytes), content_type="text/plain")
    with path.open("ab") as file:
        file.write(b"more")
    assert await read(store, "u1.log.0-4") == b"0123456789"[start : start + size_bytes]
    assert path.read_bytes() == b"0123456789more"
    assert (await store.head("u1.log.0-4")).content_type == "text/plain"


async def test_part_of_a_missing_file_raises_file_not_found(store, tmp_path):
    with pytest.raises(FileNotFoundError):
        await store.put_part("u1", tmp_path / "absent", FilePart(0, 1), content_type="text/plain")


async def test_large_object_is_read_in_pieces(store, put):
    content = bytes(range(256)) * 40_000  # 10 MB: more than a multipart upload's part
    await put("big", content)
    sizes, digest = [], hashlib.sha256()
    async with store.open("big") as opened:
        async for chunk in opened.chunks:
            sizes.append(len(chunk))
            digest.update(chunk)
    assert digest.digest() == hashlib.sha256(content).digest()
    assert max(sizes) <= 1024 * 1024


async def test_store_still_works_after_readers_stopped_early(store, put):
    await put("big", bytes(4_000_000))
    for _ in range(12):
        async with store.open("big") as opened:
            assert await anext(opened.chunks)
    assert await read(store, "big", start=3_999_999) == b"\0"


async def test_many_objects_are_stored_and_read_at_once(store, put):
    await asyncio.gather(*(put(f"u{n}", bytes([n]) * 1000) for n in range(20)))
    contents = await asyncio.gather(*(read(store, f"u{n}") for n in range(20)))
    assert contents == [bytes([n]) * 1000 for n in range(20)]


async def test_cancelled_read_does_not_affect_others(store, put):
    await put("big", bytes(4_000_000))
    task = asyncio.create_task(read(store, "big"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(await read(store, "big")) == 4_000_000


async def test_missing_file_raises_file_not_found(store, tmp_path):
    with pytest.raises(FileNotFoundError):
        await store.put("u1", tmp_path / "absent", content_type="text/plain")
    assert await store.head("u1") is None


async def test_check_can_be_repeated(store):
    await store.check()
    await store.check()


async def test_close_is_idempotent(store):
    await store.close()
    await store.close()
