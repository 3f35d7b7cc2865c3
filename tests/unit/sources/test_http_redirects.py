"""Redirects of http sources: which are followed, and which hosts get the credentials."""

import base64

import pytest
from aiohttp import web

from shuttle.errors import BuildFailedError


async def test_userinfo_becomes_basic_authorization(host, fetch):
    host.answer = lambda _: web.Response(body=b"x")
    await fetch(host.url.replace("://", "://me:p%40ss@") + "/a")
    assert host.requests[0].headers["Authorization"] == "Basic " + base64.b64encode(b"me:p@ss").decode()


async def test_credentials_are_sent_to_their_own_origin_only(start_host, fetch):
    first, other = await start_host(), await start_host()
    first.answer = lambda request: (
        web.Response(body=b"x")
        if request.path == "/back"
        else web.Response(status=302, headers={"Location": "/on" if request.path == "/a" else f"{other.url}/there"})
    )
    other.answer = lambda _: web.Response(status=307, headers={"Location": f"{first.url}/back"})
    await fetch(first.url.replace("://", "://me:hunter22@") + "/a")
    assert [(request.path, "Authorization" in request.headers) for request in first.requests] == [
        ("/a", True),
        ("/on", True),
        ("/back", True),
    ]
    assert not any("hunter22" in value or name == "Authorization" for name, value in other.requests[0].headers.items())
    assert "Referer" not in other.requests[0].headers


async def test_headers_of_a_source_are_sent_to_its_own_host_only(start_host, fetch):
    first, other = await start_host(), await start_host()
    first.answer = lambda request: (
        web.Response(body=b"x")
        if request.path == "/back"
        else web.Response(status=302, headers={"Location": "/on" if request.path == "/a" else f"{other.url}/there"})
    )
    other.answer = lambda _: web.Response(status=307, headers={"Location": f"{first.url}/back"})
    given = {"authorization": "Bearer hunter22", "X-Token": "hunter23", "accept": "application/x-tar"}
    await fetch(f"{first.url}/a", given)
    for request in first.requests:
        assert {name: request.headers.getall(name) for name in given} == {name: [given[name]] for name in given}
    assert [request.path for request in first.requests] == ["/a", "/on", "/back"]
    assert not any("hunter2" in value for value in other.requests[0].headers.values())
    assert "X-Token" not in other.requests[0].headers


async def test_credentials_in_a_redirect_are_sent_to_its_host(start_host, fetch):
    first, other = await start_host(), await start_host()
    location = other.url.replace("://", "://token:hunter22@")
    first.answer = lambda _: web.Response(status=302, headers={"Location": location})
    other.answer = lambda _: web.Response(body=b"x")
    await fetch(first.url)
    assert other.requests[0].headers["Authorization"].startswith("Basic ")


@pytest.mark.parametrize(("redirects", "arrives"), [(10, True), (11, False)])
async def test_ten_redirects_are_followed(host, fetch, redirects, arrives):
    def answer(request):
        step = int(request.path[1:])
        return web.Response(body=b"x") if not step else web.Response(status=301, headers={"Location": f"/{step - 1}"})

    host.answer = answer
    if arrives:
        assert (await fetch(f"{host.url}/{redirects}"))[1] == b"x"
    else:
        with pytest.raises(BuildFailedError) as caught:
            await fetch(f"{host.url}/{redirects}")
        assert caught.value.reason == "source_redirects"


@pytest.mark.parametrize("headers", [{}, {"Location": ""}])
async def test_redirect_without_a_location_is_not_followed(host, fetch, headers):
    host.answer = lambda _: web.Response(status=302, headers=headers)
    with pytest.raises(BuildFailedError, match="302 without an address") as caught:
        await fetch(f"{host.url}/a")
    assert caught.value.reason == "source_redirects"
    assert len(host.requests) == 1


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("http://169.254.169.254/latest/meta-data", "source_refused"),
        ("http://[::ffff:169.254.169.254]/", "source_refused"),
        ("http://2852039166/", "source_refused"),
        ("file:///etc/passwd", "source_failed"),
        ("ftp://h/x", "source_failed"),
        ("http://[broken/", "source_failed"),
        ("http://h:99999/", "source_failed"),
    ],
)
async def test_redirect_to_a_forbidden_address_or_scheme_is_refused(host, fetch, location, reason):
    host.answer = lambda _: web.Response(status=302, headers={"Location": location})
    with pytest.raises(BuildFailedError) as caught:
        await fetch(host.url)
    assert caught.value.reason == reason


async def test_redirect_without_a_location_is_refused(host, fetch):
    host.answer = lambda _: web.Response(status=302)
    with pytest.raises(BuildFailedError) as caught:
        await fetch(f"{host.url}/a")
    assert caught.value.reason == "source_redirects"
