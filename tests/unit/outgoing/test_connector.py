"""Which addresses outgoing HTTP requests may connect to; with real connections where possible."""

import socket
from ipaddress import ip_network

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from shuttle.errors import AddressRefusedError, SettingsError, UnavailableError
from shuttle.outgoing.connector import AddressPolicy, outgoing_session
from shuttle.outgoing.tls import tls_context

STRICT = AddressPolicy(allow_loopback=False)
LOCAL = AddressPolicy(allow_loopback=True)

METADATA = ["169.254.169.254", "169.254.170.2", "fd00:ec2::254", "fd20:ce::254", "fe80::1", "100.100.100.200"]
LOOPBACK = ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"]
NOT_A_HOST = ["0.0.0.0", "0.1.2.3", "::", "::ffff:0.0.0.0", "224.0.0.1", "ff02::1", "255.255.255.255"]


@pytest.fixture
async def echo():
    """A server that returns the request's headers as JSON; /away redirects to another host."""

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/away":
            raise web.HTTPFound("http://169.254.169.254/latest/meta-data")
        return web.json_response(dict(request.headers), headers={"Set-Cookie": "a=b"})

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    async with TestServer(app, host="127.0.0.1") as server:
        yield server


@pytest.mark.parametrize("address", [*METADATA, "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "fe80::1%2"])
@pytest.mark.parametrize("policy", [STRICT, LOCAL])
def test_metadata_and_link_local_are_always_refused(policy, address):
    with pytest.raises(AddressRefusedError):
        policy.check(address)


@pytest.mark.parametrize("address", NOT_A_HOST)
@pytest.mark.parametrize("policy", [STRICT, LOCAL])
def test_unspecified_multicast_and_broadcast_addresses_are_refused(policy, address):
    with pytest.raises(AddressRefusedError):
        policy.check(address)


def embedding(packed: str) -> list[str]:
    """The IPv4 address `packed`, eight hexadecimal digits, embedded in an IPv6 address in every known way."""
    high, low = packed[:4], packed[4:]
    inverted = f"{int(packed, 16) ^ 0xFFFFFFFF:08x}"
    return [
        f"::ffff:{high}:{low}",  # IPv4-mapped
        f"::{high}:{low}",  # IPv4-compatible
        f"::ffff:0:{high}:{low}",  # IPv4-translated
        f"2002:{high}:{low}::1",  # 6to4
        f"2001:0:{high}:{low}:0:1:f7f7:f7f7",  # Teredo: the server
        f"2001:0:808:808:0:1:{inverted[:4]}:{inverted[4:]}",  # Teredo: the client
        f"2a00:1450::5efe:{high}:{low}",  # ISATAP
        f"2a00:1450::200:5efe:{high}:{low}",
        f"64:ff9b::{high}:{low}",  # NAT64
        f"64:ff9b:1::{high}:{low}",  # NAT64 of local use, by the length of the gateway's prefix: 96
        f"64:ff9b:1:{high}:{low[:2]}:{low[2:]}00::",  # 48
        f"64:ff9b:1:ab{high[:2]}:{high[2:]}:{low}::",  # 56
        f"64:ff9b:1:abcd:{high[:2]}:{high[2:]}{low[:2]}:{low[2:]}00:0",  # 64
    ]


@pytest.mark.parametrize("address", embedding("a9fea9fe"))
@pytest.mark.parametrize("policy", [STRICT, LOCAL])
def test_ipv6_address_with_embedded_metadata_address_is_refused(policy, address):
    with pytest.raises(AddressRefusedError):
        policy.check(address)


@pytest.mark.parametrize("address", embedding("7f000001"))
def test_ipv6_address_with_embedded_loopback_address_is_refused_as_loopback(address):
    with pytest.raises(AddressRefusedError, match="is loopback"):
        STRICT.check(address)
    LOCAL.check(address)
    AddressPolicy(allow_loopback=False, allow_networks=[ip_network("127.0.0.0/8")]).check(address)


@pytest.mark.parametrize("address", [*embedding("0a010203"), *embedding("08080808"), "64:ff9b:1:a08:8:800::"])
def test_ipv6_address_with_embedded_private_or_public_address_is_allowed(address):
    STRICT.check(address)


def test_exception_for_one_embedded_address_does_not_allow_the_others():
    """A gateway with a prefix of 48 bits translates it to the metadata service, one with 96 bits to 10.0.0.1."""
    policy = AddressPolicy(allow_loopback=False, allow_networks=[ip_network("10.0.0.0/8")])
    with pytest.raises(AddressRefusedError):
        policy.check("64:ff9b:1:a9fe:a9:fe00:a00:1")


@pytest.mark.parametrize("address", LOOPBACK)
def test_loopback_is_refused_unless_the_service_listens_on_loopback(address):
    with pytest.raises(AddressRefusedError, match="SHUTTLE_ALLOW_NETWORKS"):
        STRICT.check(address)
    LOCAL.check(address)


@pytest.mark.parametrize("address", ["10.1.2.3", "192.168.0.1", "172.16.0.9", "8.8.8.8", "fd12::1", "2a00:1450::1"])
def test_private_and_public_networks_are_allowed(address):
    STRICT.check(address)


@pytest.mark.parametrize(
    ("network", "address"),
    [
        ("169.254.169.254/32", "169.254.169.254"),
        ("169.254.0.0/16", "::ffff:169.254.1.1"),
        ("fd00:ec2::/32", "fd00:ec2::254"),
        ("127.0.0.0/8", "127.0.0.1"),
    ],
)
def test_networks_listed_by_the_operator_are_allowed(network, address):
    AddressPolicy(allow_loopback=False, allow_networks=[ip_network(network)]).check(address)


# Nothing listens on port 1: a connection attempt would raise another error.
@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "127.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "0x7f.1",
        "0.0.0.0",
        "169.254.169.254",
    ],
)
async def test_refused_address_is_refused_in_every_notation(host):
    async with outgoing_session(STRICT) as session:
        with pytest.raises(AddressRefusedError):
            await session.get(f"http://{host}:1/")


@pytest.mark.parametrize("host", ["2130706433", "127.1", "017700000001", "0177.0.0.1"])
async def test_addresses_in_notations_of_the_c_library_are_refused(host):
    async with outgoing_session(LOCAL) as session:
        with pytest.raises((aiohttp.InvalidUrlClientError, AddressRefusedError)):
            await session.get(f"http://{host}:1/")


async def test_name_with_an_allowed_and_a_refused_address_connects_to_the_allowed_one(monkeypatch, echo):
    answers = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, echo.port)) for ip in ("169.254.169.254", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: answers)
    async with outgoing_session(LOCAL) as session, session.get(f"http://both.example:{echo.port}/") as answer:
        assert answer.status == 200


async def test_name_is_checked_on_every_connection(monkeypatch, echo):
    """DNS rebinding: the first lookup returns an allowed address, the second one a refused address."""
    answers = iter(["127.0.0.1", "169.254.169.254"])
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda *_: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), echo.port))]
    )
    async with outgoing_session(LOCAL) as session:
        url = f"http://rebound.example:{echo.port}/"
        async with session.get(url, headers={"Connection": "close"}) as answer:
            assert answer.status == 200
        session.connector.clear_dns_cache()
        with pytest.raises(AddressRefusedError):
            await session.get(url)


async def test_unknown_name_is_a_connection_error():
    async with outgoing_session(STRICT) as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get("http://no-such-host.invalid/")


async def test_session_ignores_proxy_settings_and_cookies(monkeypatch, echo):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1/")
    monkeypatch.setenv("NETRC", "/dev/null")
    async with outgoing_session(LOCAL) as session:
        await (await session.get(echo.make_url("/"))).read()
        async with session.get(echo.make_url("/")) as answer:
            assert "Cookie" not in await answer.json()


async def test_redirect_is_not_followed_unless_handled_by_the_caller(echo):
    async with outgoing_session(LOCAL) as session:
        with pytest.raises(UnavailableError, match="redirect"):
            await session.get(echo.make_url("/away"))
        async with session.get(echo.make_url("/away"), allow_redirects=False) as answer:
            assert answer.status == 302


def test_invalid_ca_file_error_names_the_setting(tmp_path):
    empty = tmp_path / "ca.pem"
    empty.write_text("no certificate")
    for path in (empty, tmp_path / "absent.pem"):
        with pytest.raises(SettingsError, match="SHUTTLE_CA_FILE"):
            tls_context(path)
