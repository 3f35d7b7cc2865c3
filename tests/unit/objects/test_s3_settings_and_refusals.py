"""The forms of S3_LOCATION, and the error messages when S3 refuses."""

import asyncio
import shutil
import socket
from contextlib import suppress

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from shuttle.errors import ObjectNotFoundError, ObjectStoreError, SettingsError
from shuttle.objects.s3 import S3Store
from shuttle.objects.s3_location import S3Location
from tests.support.certificates import close_when_left, loopback_tls


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("", S3Location("us-east-1")),
        ("eu-west-1", S3Location("eu-west-1")),
        ("http://127.0.0.1:9000", S3Location("us-east-1", "http://127.0.0.1:9000", "path")),
        ("https://minio.example/", S3Location("us-east-1", "https://minio.example", "path")),
        ("builds.minio.example", S3Location("us-east-1", "https://minio.example", "virtual")),
        ("minio.example:9000", S3Location("us-east-1", "https://minio.example:9000", "path")),
        ("builds.s3.amazonaws.com", S3Location("us-east-1")),
        ("builds.s3.eu-west-1.amazonaws.com", S3Location("eu-west-1")),
        ("builds.s3-eu-west-1.amazonaws.com", S3Location("eu-west-1")),
        ("https://s3.dualstack.us-west-2.amazonaws.com", S3Location("us-west-2")),
        ("s3.cn-north-1.amazonaws.com.cn", S3Location("cn-north-1")),
        (
            "https://s3.amazonaws.com.evil.example",
            S3Location("us-east-1", "https://s3.amazonaws.com.evil.example", "path"),
        ),
    ],
)
def test_every_form_of_s3_location_is_parsed(location, expected):
    assert S3Location.parse(location, "builds") == expected


@pytest.mark.parametrize("location", ["ftp://host", "http://", "http://h:99999", "EU West", "https://key:hunter22@h"])
def test_invalid_s3_location_is_refused(location):
    with pytest.raises(SettingsError, match="S3_LOCATION") as caught:
        S3Location.parse(location, "builds")
    assert "hunter22" not in str(caught.value)


def refusing_s3(status, code):
    """A server that refuses every request like S3: XML with a code, but no body in the response to a HEAD."""

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        body = f"<Error><Code>{code}</Code><Message>hunter22</Message></Error>" if code else ""
        return web.Response(status=status, text=body, content_type="application/xml")

    app = web.Application(client_max_size=1 << 20)
    app.router.add_route("*", "/{tail:.*}", answer)
    return TestServer(app, host="127.0.0.1")


def store_at(server, **options):
    location = str(server.make_url(""))
    return S3Store(bucket="builds", access_key="key", secret_key="hunter22", location=location, **options)


async def read(store, name):
    async with store.open(name) as opened:
        return b"".join([chunk async for chunk in opened.chunks])


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (403, "InvalidAccessKeyId", "S3_ACCESS_KEY"),
        (403, "SignatureDoesNotMatch", "S3_SECRET_KEY"),
        (403, "AccessDenied", "s3:PutObject"),
        (404, "NoSuchBucket", "S3_BUCKET"),
        (400, "AuthorizationHeaderMalformed", "S3_LOCATION"),
        (403, "RequestTimeTooSkewed", "clock"),
        (507, "XMinioStorageFull", "no free space"),
        (418, "Unheard", "Unheard"),
    ],
)
async def test_refusal_says_what_to_do(status, code, words):
    async with refusing_s3(status, code) as server:
        store = store_at(server)
        with pytest.raises(ObjectStoreError, match=words) as caught:
            await store.check()
        assert "hunter22" not in str(caught.value)
        await store.close()


async def test_missing_bucket_is_reported_as_such_not_as_a_missing_object():
    async with refusing_s3(404, "NoSuchBucket") as server:
        store = store_at(server)
        with pytest.raises(ObjectStoreError, match="S3_BUCKET"):
            await store.head("u1")
        with pytest.raises(ObjectStoreError, match="S3_BUCKET"):
            async with store.open("u1", start=1):
                pass
        await store.close()


async def test_missing_object_without_list_permission_names_the_permission():
    async with refusing_s3(403, "") as server:
        store = store_at(server)
        with pytest.raises(ObjectStoreError, match="s3:ListBucket"):
            await store.head("u1")
        await store.close()


async def test_refused_connection_is_reported():
    async with refusing_s3(500, "") as server:
        store = store_at(server, connect_seconds=1)
    with pytest.raises(ObjectStoreError, match="cannot be reached"):
        await store.head("u1")
    await store.close()


async def test_truncated_response_is_an_error():
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": "text/plain"})
        await response.prepare(request)
        await response.write(b"only this")
        assert request.transport is not None
        request.transport.abort()
        return response

    app = web.Application()
    app.router.add_get("/{tail:.*}", answer)
    async with TestServer(app, host="127.0.0.1") as server:
        store = store_at(server)
        with pytest.raises(ObjectStoreError):
            await read(store, "u1")
        await store.close()


async def test_ca_file_is_trusted_in_addition_to_the_default_cas(tmp_path, monkeypatch):
    context, ca_file = loopback_tls(tmp_path)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))

    async def answer(_: web.Request) -> web.Response:
        response = web.Response(
            text="<Error><Code>NoSuchKey</Code></Error>", status=404, content_type="application/xml"
        )
        response.force_close()  # boto3 leaves its connections to the collector
        return response

    app = web.Application()
    app.router.add_get("/{tail:.*}", answer)
    server = TestServer(app, host="127.0.0.1", scheme="https")
    await server.start_server(ssl=context)
    trusting, ignorant = store_at(server, ca_file=ca_file), store_at(server)
    # The refused handshake comes first: during the other request, the server notices its end and closes its side.
    with pytest.raises(ObjectStoreError, match="SHUTTLE_CA_FILE"):
        await read(ignorant, "u1")
    with pytest.raises(ObjectNotFoundError):
        await read(trusting, "u1")
    await trusting.close()
    await ignorant.close()
    kept = store_at(server, ca_file=ca_file, cas_file=tmp_path / "cas.pem")
    shutil.rmtree(temporary)  # as systemd-tmpfiles does after ten days
    with pytest.raises(ObjectNotFoundError):
        await read(kept, "u1")
    await kept.close()
    await close_when_left(server)


async def test_a_cancelled_upload_stores_nothing(tmp_path):
    """Before, it went on in its thread, and could replace an object that was stored later under the same name."""
    begun, go_on, ended, stored = asyncio.Event(), asyncio.Event(), asyncio.Event(), []

    async def receive(request: web.Request) -> web.Response:
        begun.set()
        await go_on.wait()
        try:
            stored.append(len(await request.read()))
        finally:
            ended.set()
        return web.Response()

    app = web.Application(client_max_size=1 << 24)
    app.router.add_route("PUT", "/{tail:.*}", receive)
    (tmp_path / "source").write_bytes(bytes(7 * 1024 * 1024))  # in one request, and more than the sockets hold
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    server = TestServer(app, socket_factory=lambda *_: listening)
    async with server:
        store = store_at(server)
        putting = asyncio.create_task(store.put("u1", tmp_path / "source", content_type="application/gzip"))
        await begun.wait()
        putting.cancel()
        with suppress(asyncio.CancelledError):
            await putting
        go_on.set()
        await ended.wait()
        await asyncio.to_thread(store._threads.shutdown)
        await store.close()
    assert stored == []
