"""The listener of packer over REST: its root, its TLS, its tokens, its errors."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from shuttle.errors import SettingsError
from shuttle.settings import load_settings
from shuttle.web.packerd.tls import packerd_tls
from tests.support.certificates import loopback_tls
from tests.support.described import assert_packerd_described
from tests.support.inprocess import Shuttle, running_shuttle

TOKEN = "controller-token-0001"
BODY = {"giturl": "http://127.0.0.1:9/x.git"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def open_listener(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shuttle]:
    """A service with tokens whose listener needs none, with a certificate of its own."""
    settings = {"SHUTTLE_PACKERD_BIND": "127.0.0.1:0", "SHUTTLE_PACKERD_TLS_CERT": "auto"}
    more = {"SHUTTLE_TOKENS": f"controller:{TOKEN}", "SHUTTLE_PACKERD_ANONYMOUS": "true"}
    async with running_shuttle(tmp_path_factory.mktemp("open"), **settings, **more) as shuttle:
        yield shuttle


def url_of(shuttle: Shuttle, path: str) -> str:
    return f"https://127.0.0.1:{shuttle.packerd_port}{path}"


@pytest.mark.asyncio(loop_scope="module")
async def test_open_listener_builds_without_a_token_and_the_main_one_does_not(open_listener: Shuttle):
    session = open_listener.session
    async with session.get(url_of(open_listener, "/health"), ssl=False) as answer:
        assert (answer.status, (await answer.json())["status"]) == (200, "err")
    async with session.post(url_of(open_listener, "/build"), json=BODY, ssl=False) as answer:
        links = await answer.json()
        assert (answer.status, links[0]["rel"]) == (202, "buildrequest")
    async with session.get(url_of(open_listener, links[0]["href"]), ssl=False) as answer:
        assert (await answer.json())["giturl"] == BODY["giturl"]
    assert (await open_listener.post("/-/packerd/build", BODY)).status == 401
    async with session.get(url_of(open_listener, "/swagger.json"), ssl=False) as answer:
        assert (await answer.json())["swagger"] == "2.0"


@pytest.mark.parametrize(
    ("headers", "path", "status"),
    [
        ({}, "/-/builds", 404),
        ({}, "/shop/42", 404),
        ({}, "/build", 405),
        ({"Host": "shuttle.attacker.example"}, "/build/queue", 403),
        ({"Sec-Fetch-Site": "cross-site"}, "/build/queue", 403),
        ({"Accept": "text/html"}, "/build/queue", 406),
        ({"X-Long": "x" * 70_000}, "/build/queue", 400),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_every_error_of_the_listener_is_a_number_and_a_sentence(
    open_listener: Shuttle, headers: dict[str, str], path: str, status: int
):
    async with open_listener.session.get(url_of(open_listener, path), headers=headers, ssl=False) as answer:
        body = await answer.json()
        assert_packerd_described("GET", path, answer.status, answer.headers, await answer.read())
    assert (answer.status, body["code"], set(body)) == (status, status, {"code", "message"})


@pytest.mark.asyncio(loop_scope="module")
async def test_refusal_of_a_foreign_host_says_which_settings_accept_it(open_listener: Shuttle):
    """Tokens alone have no effect here: the service has some."""
    headers = {"Host": "shuttle.attacker.example"}
    async with open_listener.session.get(url_of(open_listener, "/build/queue"), headers=headers, ssl=False) as answer:
        message = (await answer.json())["message"]
    assert "with SHUTTLE_TOKENS set and without SHUTTLE_PACKERD_ANONYMOUS, any name is accepted" in message


@pytest.mark.asyncio(loop_scope="module")
async def test_malformed_request_is_answered_in_the_same_form(open_listener: Shuttle):
    unchecked = ssl.create_default_context()
    unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection("127.0.0.1", open_listener.packerd_port, ssl=unchecked)
    writer.write(b"nonsense\r\n\r\n")
    answer = await reader.read()
    writer.close()
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
    assert b'{"code":400,"message":' in answer


@pytest.mark.asyncio(loop_scope="module")
async def test_connections_count_before_their_handshake_which_takes_limited_time(tmp_path: Path):
    """Before, only connections whose handshake was over counted, and each handshake might take a minute."""
    settings = {"SHUTTLE_PACKERD_BIND": "127.0.0.1:0", "SHUTTLE_PACKERD_TLS_CERT": "auto"}
    limits = {"SHUTTLE_MAX_CONNECTIONS_PER_PEER": "2", "SHUTTLE_HEAD_TIMEOUT_SECONDS": "0.5"}
    async with running_shuttle(tmp_path, **settings, **limits) as shuttle:
        silent = [await asyncio.open_connection("127.0.0.1", shuttle.packerd_port) for _ in range(2)]
        refused, writer = await asyncio.open_connection("127.0.0.1", shuttle.packerd_port)
        async with asyncio.timeout(5):
            assert await refused.read() == b"", "it was closed at once"
            assert [reader.at_eof() for reader, _ in silent] == [False, False]
            for reader, _ in silent:
                await reader.read()
        async with shuttle.session.get(url_of(shuttle, "/health"), ssl=False) as answer:
            assert answer.status == 200
        for each in (writer, *(writer for _, writer in silent)):
            each.close()


async def test_listener_needs_tokens_as_everywhere(tmp_path: Path):
    certificate, key = tmp_path / "ca.pem", tmp_path / "key.pem"
    _, ca_file = loopback_tls(tmp_path)
    settings = {"SHUTTLE_PACKERD_BIND": "127.0.0.1:0", "SHUTTLE_TOKENS": f"controller:{TOKEN}"}
    files = {"SHUTTLE_PACKERD_TLS_CERT": str(certificate), "SHUTTLE_PACKERD_TLS_KEY": str(key)}
    trusted = ssl.create_default_context(cafile=str(ca_file))
    async with running_shuttle(tmp_path, **settings, **files) as shuttle:
        for headers, status in (
            ({}, 401),
            ({"Authorization": f"Basic {base64.b64encode(f'x:{TOKEN}'.encode()).decode()}"}, 204),
        ):
            url = url_of(shuttle, "/build/queue")
            async with shuttle.session.get(url, headers=headers, ssl=trusted) as answer:
                assert answer.status == status


@pytest.mark.parametrize(
    "settings",
    [
        {"SHUTTLE_PACKERD_BIND": "0.0.0.0:443"},
        {"SHUTTLE_PACKERD_BIND": "443"},
        {"SHUTTLE_PACKERD_BIND": "127.0.0.1:70000"},
        {"SHUTTLE_PACKERD_BIND": "::1:443"},
        {"SHUTTLE_PACKERD_TLS_CERT": "/c.pem"},
        {"SHUTTLE_PACKERD_TLS_KEY": "/k.pem"},
        {"SHUTTLE_PACKERD_TLS_CERT": "auto", "SHUTTLE_PACKERD_TLS_KEY": "/k.pem"},
    ],
)
def test_settings_of_the_listener_that_cannot_work_are_refused(settings: dict[str, str]):
    with pytest.raises(SettingsError, match="SHUTTLE_PACKERD"):
        load_settings(settings)


@pytest.mark.parametrize("more", [{"SHUTTLE_PACKERD_ANONYMOUS": "true"}, {"SHUTTLE_TOKENS": f"controller:{TOKEN}"}])
def test_listener_beyond_loopback_needs_tokens_or_the_setting_that_opens_it(more: dict[str, str]):
    assert load_settings({"SHUTTLE_PACKERD_BIND": "[::]:443", **more}).packerd_address == ("::", 443)


def test_unusable_certificate_ends_the_start(tmp_path: Path):
    (tmp_path / "c.pem").write_text("no certificate")
    files = {"SHUTTLE_PACKERD_TLS_CERT": str(tmp_path / "c.pem"), "SHUTTLE_PACKERD_TLS_KEY": str(tmp_path / "absent")}
    with pytest.raises(SettingsError, match="PEM"):
        packerd_tls(load_settings({"SHUTTLE_PACKERD_BIND": "127.0.0.1:0", **files}))
