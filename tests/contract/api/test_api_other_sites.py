"""Without tokens: requests that a page of another site can make a browser on this machine send are refused."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
import pytest_asyncio

from tests.contract.agent_caller import agent_of
from tests.support.answer import Answer
from tests.support.inprocess import Shuttle, running_shuttle, script_request

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAMED = {
    "BUILD_SHUTTLE_HOST": "https://shuttle.example.com",
    "SHUTTLE_ALIASES": "http://old.example.com:8000,bare.example.com",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def idle(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shuttle]:
    async with running_shuttle(tmp_path_factory.mktemp("idle"), **NAMED) as shuttle:
        yield shuttle


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def open_to_all(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shuttle]:
    """A shuttle that other machines can reach without a token."""
    settings = {"SHUTTLE_BIND": "0.0.0.0", "SHUTTLE_ALLOW_ANONYMOUS": "true", **NAMED}
    async with running_shuttle(tmp_path_factory.mktemp("open"), **settings) as shuttle:
        yield shuttle


async def raw(shuttle: Shuttle, head: str, body: bytes = b"") -> int:
    """The status of the response to a hand-written request; 0 = the connection was closed without a response."""
    reader, writer = await asyncio.open_connection("127.0.0.1", shuttle.port)
    writer.write(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
    try:
        async with asyncio.timeout(10):
            line = await reader.readline()
        return int(line.split()[1]) if line else 0
    finally:
        writer.close()


async def post(shuttle: Shuttle, **headers: str) -> Answer:
    return await shuttle.post(
        f"/app-{uuid4()}/1", script_request(), headers={n.replace("_", "-"): v for n, v in headers.items()}
    )


FOREIGN_HOSTS = [
    "evil.example",
    "evil.example:{port}",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "localhost@evil.example",
    "evil.example@localhost",
    "user:password@localhost:{port}",
    "localhost:{port}@evil.example",
    "localhost:x",
    "localhost:99999",
    "localhost/",
    "localhost, evil.example",
    "localhost evil.example",
    "[::1].evil.example",
    "[::1",
    "[::2]",
    "10.0.0.5:{port}",
    "128.0.0.1",
    "127.0.0.256",
    "0x7f.0.0.1",
    "2130706433",
    "127.1",
    "notlocalhost",
    "xlocalhost:{port}",
    "shuttle.example.com.evil.example",
    "example.com",
    "evilshuttle.example.com",
]
OWN_HOSTS = [
    "localhost",
    "localhost:{port}",
    "LOCALHOST:{port}",
    "localhost.:{port}",
    "localhost:1",
    "127.0.0.1",
    "127.0.0.1:{port}",
    "127.8.9.10:65535",
    "[::1]",
    "[::1]:{port}",
    "[0:0:0:0:0:0:0:1]:{port}",
    "shuttle.example.com",
    "Shuttle.Example.COM:443",
    "shuttle.example.com.",
    "old.example.com:8000",
    "bare.example.com",
    "bare.example.com:9000",
]


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
async def test_foreign_host_is_refused_on_every_protected_route(idle: Shuttle, host: str):
    """If an attacker's name resolves to this machine, the attacker's page and this service have the same origin."""
    host = host.format(port=idle.port)
    answer = await post(idle, Host=host)
    assert (answer.status, answer.json["code"]) == (403, "forbidden")
    assert "SHUTTLE_ALIASES" in answer.json["message"]
    for method, path in (("GET", "/-/builds"), ("HEAD", "/x"), ("DELETE", "/x/1"), ("POST", "/"), ("GET", "/metrics")):
        assert (await idle.ask(method, path, headers={"Host": host})).status == 403, (method, path)


@pytest.mark.parametrize("host", OWN_HOSTS)
async def test_loopback_and_the_configured_names_are_accepted(idle: Shuttle, host: str):
    assert (await post(idle, Host=host.format(port=idle.port))).status == 200


async def test_absolute_target_takes_precedence_over_the_host_header(idle: Shuttle):
    own, foreign = f"127.0.0.1:{idle.port}", "evil.example"
    for target, host, status in ((own, own, 200), (foreign, own, 403), (own, foreign, 403), (foreign, foreign, 403)):
        head = f"GET http://{target}/-/builds HTTP/1.1\nHost: {host}\nConnection: close"
        assert await raw(idle, head) == status, (target, host)


async def test_request_with_two_hosts_is_refused(idle: Shuttle):
    own = f"Host: 127.0.0.1:{idle.port}"
    for hosts in (f"{own}\n{own}", f"{own}\nHost: evil.example", f"Host: evil.example\n{own}"):
        assert await raw(idle, f"GET /-/builds HTTP/1.1\n{hosts}\nConnection: close") == 400, hosts
    assert await raw(idle, "GET /-/builds HTTP/1.1\nConnection: close") == 400
    assert await raw(idle, "GET /-/builds HTTP/1.1\nHost:\nConnection: close") == 403


async def test_http_1_0_request_needs_no_host(idle: Shuttle):
    """No browser sends such a request."""
    assert await raw(idle, "GET /-/builds HTTP/1.0") == 200
    assert await raw(idle, "GET /-/builds HTTP/1.0\nHost: evil.example") == 403


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "http://evil.example",
        "http://localhost:3000",
        "http://localhost",
        "http://127.0.0.1:{port}.evil.example",
        "https://localhost:{port}",
        "http://127.0.0.1:{port}",
        "http://localhost:{port}/",
        "http://user@localhost:{port}",
        "http://localhost:{port} http://evil.example",
        "http://shuttle.example.com",
        "https://shuttle.example.com:8443",
        "http://old.example.com",
        "file://",
        "localhost:{port}",
    ],
)
async def test_foreign_origin_may_not_change_anything(idle: Shuttle, origin: str):
    headers = {"Host": f"localhost:{idle.port}", "Origin": origin.format(port=idle.port)}
    assert (await post(idle, **headers)).status == 403
    for method, path in (
        ("POST", "/"),
        ("DELETE", "/x/1"),
        ("DELETE", "/x"),
        ("POST", "/-/deliveries/replay?app_id=x"),
    ):
        answer = await idle.ask(method, path, headers=headers)
        assert (answer.status, answer.json["code"]) == (403, "forbidden"), (method, path)
    assert (await idle.get("/-/builds", headers=headers)).status == 200, "reading changes nothing"


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:{port}", "http://localhost:{port}"),
        ("LocalHost:{port}", "http://localhost:{port}"),
        ("127.0.0.1:{port}", "http://127.0.0.1:{port}"),
        ("[::1]:{port}", "http://[::1]:{port}"),
        ("localhost", "http://localhost"),
        ("localhost:80", "http://localhost"),
        ("shuttle.example.com", "https://shuttle.example.com"),
        ("old.example.com:8000", "http://old.example.com:8000"),
        ("bare.example.com", "http://bare.example.com"),
        ("bare.example.com", "https://bare.example.com"),
    ],
)
async def test_same_origin_may_make_changes(idle: Shuttle, host: str, origin: str):
    port = idle.port
    assert (await post(idle, Host=host.format(port=port), Origin=origin.format(port=port))).status == 200


@pytest.mark.parametrize(
    ("site", "changing", "reading"),
    [
        ("cross-site", 403, 403),
        ("same-site", 403, 200),
        ("same-origin", 200, 200),
        ("none", 200, 200),
        ("odd", 403, 200),
    ],
)
async def test_sec_fetch_site_is_respected(idle: Shuttle, site: str, changing: int, reading: int):
    """`same-site` also means a page on another port of this machine."""
    assert (await post(idle, Sec_Fetch_Site=site)).status == changing
    assert (await idle.get("/-/builds", headers={"Sec-Fetch-Site": site})).status == reading


async def test_probes_and_agents_may_use_any_host(idle: Shuttle):
    """Probes use the pod's address and read no secrets; agents have their build's token."""
    host = {"Host": "10.1.2.3:9000"}
    for path in ("/healthz", "/octhc", "/readyz", "/-/openapi.json"):
        assert (await idle.get(path, headers=host)).status in {200, 503}, path
    assert "not ready" in (await idle.get("/readyz", headers=host)).json["checks"]["jenkins"]
    assert "not ready" not in (await idle.get("/readyz")).json["checks"]["jenkins"]
    path = f"/app-{uuid4()}/1"
    await idle.submit(path)
    agent = await agent_of(idle, path)
    bearer = {"Authorization": f"Bearer {agent.token}"}
    claim = {"number": 1, "nonce": "nonce-of-a-test-0001"}
    answers = [
        await idle.post(f"/-/builds/{agent.uuid}/claim", claim, headers={**bearer, **more})
        for more in ({}, host, {**host, "Origin": "http://evil.example"})
    ]
    assert {answer.status for answer in answers} == {409}, "Jenkins is down: it was not triggered"


async def test_service_open_to_other_machines_accepts_addresses_but_no_foreign_names(open_to_all: Shuttle):
    """A page cannot make an address its origin."""
    for host in ("10.0.0.5:9000", "[fd00::5]:9000", "192.168.1.2", "localhost", "shuttle.example.com"):
        assert (await post(open_to_all, Host=host)).status == 200, host
    for host in ("evil.example", "evil.example:9000", "10.0.0.5.evil.example"):
        assert (await post(open_to_all, Host=host)).status == 403, host
    assert (await post(open_to_all, Host="10.0.0.5:9000", Origin="http://10.0.0.6:9000")).status == 403


async def test_with_tokens_any_host_is_accepted_but_other_sites_cannot_use_a_browsers_login(tmp_path):
    """A browser that has stored a token for Basic sends it with requests of any page."""
    token = "token-of-a-controller"
    async with running_shuttle(
        tmp_path, SHUTTLE_TOKENS=f"controller:{token}", SHUTTLE_LEGACY_ANONYMOUS="true"
    ) as guarded:
        host, origin = "any.name.example:9000", "http://evil.example"
        bearer = {"Authorization": f"Bearer {token}", "Host": host}
        basic = {"Authorization": "Basic dXNlcjp0b2tlbi1vZi1hLWNvbnRyb2xsZXI=", "Host": host}
        assert (await post(guarded, **bearer)).status == 200
        assert (await post(guarded, **bearer, Origin=origin)).status == 200
        assert (await post(guarded, **basic)).status == 200
        assert (await post(guarded, **basic, Origin=f"http://{host}")).status == 200
        assert (await post(guarded, **basic, Origin=origin)).status == 403
        assert (await post(guarded, **basic, Sec_Fetch_Site="cross-site")).status == 403
        followed = await guarded.get("/-/builds", headers={**basic, "Sec-Fetch-Site": "cross-site"})
        assert followed.status == 200, "a link on another page"
        for headers in ({"Origin": origin}, {"Origin": "null"}, {"Sec-Fetch-Site": "same-site"}):
            assert (await guarded.post("/", {}, headers=headers)).status == 403, headers
        assert (await guarded.post("/", {}, headers={"Host": host})).status == 400
