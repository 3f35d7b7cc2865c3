"""Credentials, crumbs and certificates of the client, and that no error contains them."""

import asyncio
import base64
import ipaddress
import itertools
import ssl
import traceback
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from shuttle.errors import JenkinsRefusedError, JenkinsUnavailableError
from shuttle.jenkins.client import JenkinsClient
from tests.unit.jenkins.fake_jenkins import ERROR_PAGE, FakeJenkins, answers, answers_json, resets

NO_CRUMB_PAGE = b"<html><head><title>Error 403 No valid crumb was included in the request</title></head></html>"


class CrumbIssuer:
    """Issues crumbs that are valid only with their session cookie, as recorded; `forget` acts like a restart."""

    def __init__(self, fake: FakeJenkins) -> None:
        self._numbers = itertools.count(1)
        self._valid: dict[str, str] = {}
        self.issued = 0
        fake.on("GET", "/crumbIssuer/api/json", self.issue)
        fake.on("POST", "/", self.guard)

    def forget(self) -> None:
        self._valid.clear()

    async def issue(self, request: web.Request) -> web.StreamResponse:
        self.issued += 1
        number = next(self._numbers)
        session = request.cookies.get("JSESSIONID.1", f"session{number}")
        self._valid[session] = f"crumb{number}"
        response = web.json_response({"crumb": f"crumb{number}", "crumbRequestField": "Jenkins-Crumb"})
        response.set_cookie("JSESSIONID.1", session)
        return response

    async def guard(self, request: web.Request) -> web.StreamResponse:
        crumb = self._valid.get(request.cookies.get("JSESSIONID.1", ""))
        if crumb is None or request.headers.get("Jenkins-Crumb") != crumb:
            return web.Response(status=403, body=NO_CRUMB_PAGE, content_type="text/html")
        return web.Response(status=302, headers={"Location": "http://x/"})


async def test_an_api_token_is_sent_as_basic_authentication_without_a_crumb(fake, connect):
    fake.on("POST", "/", answers(302))
    client = connect(f"http://c%69%40corp:p%2Fw%C3%A9@{fake.host_port}/")
    await client.stop("app", 1, "stop")
    [seen] = fake.seen
    assert seen.headers["Authorization"] == "Basic " + base64.b64encode("ci@corp:p/wé".encode()).decode()


async def test_no_session_cookie_is_sent_with_an_api_token(fake, connect):
    fake.on("GET", "/", answers(404, ERROR_PAGE, **{"Set-Cookie": "JSESSIONID.1=of-an-error-page; Path=/"}))
    fake.on("GET", "/api/json", answers_json({"quietingDown": False}))
    fake.on("POST", "/", answers(302))
    client = connect()
    assert await client.find_build("app", "u1") is None
    await client.stop("app", 1, "stop")
    assert "Cookie" not in fake.seen[-1].headers


async def test_a_path_prefix_of_jenkins_is_used(fake, connect):
    fake.on("POST", "/", answers(302))
    await connect(f"http://{fake.host_port}/ci/jenkins", job_threads=1).stop("app", 1, "stop")
    assert fake.asked("POST", "/ci/jenkins/job/app/1/stop")


async def test_without_userinfo_a_crumb_and_its_session_are_fetched_once(fake, connect):
    issuer = CrumbIssuer(fake)
    client = connect(fake.url)
    await asyncio.gather(*(client.stop("app", number, "stop") for number in range(5)))
    assert issuer.issued == 1
    assert "Authorization" not in fake.seen[0].headers


async def test_an_invalid_crumb_is_renewed(fake, connect):
    issuer = CrumbIssuer(fake)
    client = connect(fake.url)
    await client.stop("app", 1, "stop")
    issuer.forget()
    await asyncio.gather(*(client.stop("app", number, "stop") for number in range(5)))
    assert issuer.issued == 2


async def test_a_crumb_is_fetched_for_a_password_once_jenkins_requires_one(fake, connect):
    issuer = CrumbIssuer(fake)
    await connect().stop("app", 1, "stop")
    assert issuer.issued == 1
    assert len(fake.asked("POST", "/")) == 2


async def test_a_jenkins_without_crumbs_is_supported(fake, connect):
    fake.on("POST", "/", answers(302))
    await connect(fake.url).stop("app", 1, "stop")


async def test_a_command_whose_crumb_is_refused_is_repeated_once(fake, connect):
    fake.on("GET", "/crumbIssuer", answers_json({"crumb": "c", "crumbRequestField": "Jenkins-Crumb"}))
    fake.on("POST", "/", answers(403, NO_CRUMB_PAGE))
    with pytest.raises(JenkinsRefusedError):
        await connect(fake.url).stop("app", 1, "stop")
    assert len(fake.asked("POST", "/")) == 2


async def test_an_unreadable_crumb_is_unavailable(fake, connect):
    fake.on("GET", "/crumbIssuer", answers(200, ERROR_PAGE))
    with pytest.raises(JenkinsUnavailableError):
        await connect(fake.url).stop("app", 1, "stop")
    assert not fake.asked("POST", "/")


@pytest.mark.parametrize("behaviour", [resets, answers(401), answers(403, ERROR_PAGE), answers(500, ERROR_PAGE)])
async def test_no_error_shows_the_credentials(fake, connect, behaviour):
    fake.on("GET", "/", behaviour)
    fake.on("POST", "/", behaviour)
    client = connect()
    raised: list[BaseException] = []
    for call in (
        client.build("app", 1),
        client.trigger("app", {"SHUTTLE_TOKEN": "t0ken-secret"}),
        client.check(),
        client.apply_job("app", b"<flow-definition/>", "sha256:0"),
    ):
        with pytest.raises((JenkinsUnavailableError, JenkinsRefusedError)) as caught:
            await call
        raised.append(caught.value)
    encoded = base64.b64encode(b"ci:t0ken-secret").decode()
    for error in raised:
        chain: BaseException | None = error
        while chain is not None:
            assert "t0ken-secret" not in repr(chain) + str(chain)
            assert encoded not in repr(chain) + str(chain)
            chain = chain.__cause__
        assert error.__suppress_context__ or error.__context__ is None
    assert "t0ken-secret" not in repr(client) + repr(vars(client))


@pytest.mark.parametrize("behaviour", [resets, answers(401), answers(403, ERROR_PAGE), answers(500, ERROR_PAGE)])
async def test_no_error_of_a_change_of_a_job_shows_the_credentials(fake, connect, behaviour):
    fake.on("GET", "/crumbIssuer", answers(404))
    fake.on("POST", "/createItem", behaviour)
    with pytest.raises((JenkinsUnavailableError, JenkinsRefusedError)) as caught:
        await connect().apply_job("app", b"<flow-definition/>", "sha256:0")
    assert "t0ken-secret" not in "".join(traceback.format_exception(caught.value))


async def test_a_private_authority_is_trusted_only_if_configured(tmp_path):
    authority, server_context = certificate_for_loopback(tmp_path)
    trusting = ssl.create_default_context()
    trusting.load_verify_locations(authority)
    async with FakeJenkins(server_context) as fake:
        fake.on("GET", "/job/app/api/json", answers(404), answers_json({"name": "app"}))
        fake.on("POST", "/createItem", answers(200))
        client = JenkinsClient(fake.url, ssl_context=trusting)
        await client.apply_job("app", b"<flow-definition/>", "sha256:0")
        assert fake.asked("POST", r"/createItem\?name=app")
        await client.close()

        without_authority = JenkinsClient(fake.url)
        with pytest.raises(JenkinsUnavailableError, match="SHUTTLE_CA_FILE"):
            await without_authority.check()
        await without_authority.close()


def certificate_for_loopback(directory):
    """A self-signed certificate: its file, and a server's context with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = directory / "jenkins.pem"
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(certificate.public_bytes(pem) + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return file, context
