"""HTTP with one Jenkins: credentials, crumb, timeouts; an answer comes whole or JenkinsUnavailableError is raised."""

import asyncio
import json
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import aiohttp
from yarl import URL

from shuttle.errors import JenkinsUnavailableError, ShuttleError
from shuttle.jenkins.credentials import CredentialsCheck
from shuttle.outgoing.faults import describe_connect_error
from shuttle.outgoing.lenient_client import RESPONSE_LIMITS, LenientConnector

# Jenkins says this for certain before it does anything, so the same POST with a fresh crumb repeats nothing.
NO_CRUMB: Final = b"No valid crumb"
READ_BUFFER_BYTES: Final = 256 * 1024
# A Jenkins that starts accepts connections and says nothing for 10 seconds and more: no question waits for it so long
# that everybody's questions queue behind it.
SILENCE_SECONDS: Final = 10.0


def observe_nothing(_kind: str, _seconds: float) -> None:
    """The default of `observe`: nobody measures."""


@dataclass(frozen=True, slots=True)
class JenkinsResponse:
    """A whole HTTP answer of any status but 401; redirects are not followed. Header names are found in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class JenkinsSession:
    """One controller's connections. Build it inside a running loop; any number of tasks of that loop may use it.

    `url` may carry `user:api-token`; an API token needs no crumb. Without userinfo (and with a password) Jenkins wants
    a crumb and the session cookie that got it; both are fetched again when Jenkins no longer knows them.
    Neither userinfo nor crumb is ever part of an error or a repr. Every call raises the error that a 401 means.
    """

    def __init__(
        self,
        url: str,
        *,
        ssl_context: ssl.SSLContext | None = None,
        connect_timeout_seconds: float = 5,
        request_timeout_seconds: float = 30,
        observe: Callable[[str, float], None] = observe_nothing,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        address = URL(url)
        self.url = str(address.with_user(None).with_query(None).with_fragment(None)).rstrip("/") + "/"
        self.userinfo = None if address.user is None else (address.user, address.password or "")
        self.credentials = CredentialsCheck(clock)
        self._observe = observe
        # A command may take its time, and what a lost answer to it means is costly to find out.
        self._command_timeout = aiohttp.ClientTimeout(total=request_timeout_seconds, connect=connect_timeout_seconds)
        self._question_timeout = aiohttp.ClientTimeout(
            total=request_timeout_seconds,
            connect=connect_timeout_seconds,
            sock_read=min(SILENCE_SECONDS, request_timeout_seconds),
        )
        self._connect_timeout_seconds = connect_timeout_seconds

        # Polls are bounded by their budget, and a stop must not queue behind them: hence no limit of connections here.
        # A session's cookie goes with its crumb only: beside a token it could make Jenkins ask for a crumb.
        def session(*, keep_connections: bool) -> aiohttp.ClientSession:
            return aiohttp.ClientSession(
                connector=LenientConnector(limit=0, ssl=ssl_context or True, force_close=not keep_connections),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept-Encoding": "identity", **_authorization(self.userinfo)},
                read_bufsize=READ_BUFFER_BYTES,
                **RESPONSE_LIMITS,
            )

        self._questions = session(keep_connections=True)
        # Jenkins or a proxy may close a kept connection as a command is sent. Whether it was done is then unknown, and
        # the search for its build costs more than a connection; a question is just asked again.
        self._commands = session(keep_connections=False)
        self._crumb: Mapping[str, str] | None = None
        self._crumb_lock = asyncio.Lock()

    def __repr__(self) -> str:
        return f"JenkinsSession({self.url})"

    async def close(self) -> None:
        """Close every connection; also fine twice."""
        await self._questions.close()
        await self._commands.close()

    async def get(self, kind: str, path: str) -> JenkinsResponse:
        """GET `path` (relative, already encoded)."""
        return await self._whole(await self._send(kind, "GET", path, timeout=self._question_timeout))

    async def post(self, kind: str, path: str, form: Mapping[str, str] | None = None) -> JenkinsResponse:
        """POST a form, once: an error means that Jenkins may have done it."""
        crumb = self._crumb
        if crumb is None and self.userinfo is None:
            crumb = await self._fetch_crumb(instead_of=None)
        answer = await self._post(kind, path, form or {}, crumb)
        if answer.status == 403 and NO_CRUMB in answer.body:
            crumb = await self._fetch_crumb(instead_of=crumb)
            answer = await self._post(kind, path, form or {}, crumb)
        return answer

    async def stream(self, kind: str, path: str, *, idle_timeout_seconds: float) -> aiohttp.ClientResponse:
        """GET `path` and return once the headers are there; the caller reads the body and releases the response."""
        timeout = aiohttp.ClientTimeout(
            total=None, connect=self._connect_timeout_seconds, sock_read=idle_timeout_seconds
        )
        return await self._send(kind, "GET", path, timeout=timeout)

    async def _post(
        self, kind: str, path: str, form: Mapping[str, str], crumb: Mapping[str, str] | None
    ) -> JenkinsResponse:
        return await self._whole(
            await self._send(kind, "POST", path, timeout=self._command_timeout, form=form, headers=crumb or {})
        )

    async def _send(
        self,
        kind: str,
        method: str,
        path: str,
        *,
        timeout: aiohttp.ClientTimeout,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> aiohttp.ClientResponse:
        began_at = time.monotonic()
        try:
            response = await (self._questions if method == "GET" else self._commands).request(
                method,
                URL(self.url + path, encoded=True),
                data=form,
                headers=headers,
                allow_redirects=False,
                timeout=timeout,
            )
        except (aiohttp.ClientError, OSError) as error:
            self.credentials.no_answer()
            raise unavailable(error) from None
        finally:
            self._observe(kind, time.monotonic() - began_at)
        try:
            self.credentials.answered(response.status)
        except ShuttleError:
            response.release()
            raise
        return response

    async def _whole(self, response: aiohttp.ClientResponse) -> JenkinsResponse:
        """The answer with its body; of a command, and of a refusal, the status counts also without it."""
        try:
            async with response:
                return JenkinsResponse(response.status, response.headers, await response.read())
        except (aiohttp.ClientError, OSError) as error:
            if response.method == "GET" and response.status == 200:
                raise unavailable(error) from None
            return JenkinsResponse(response.status, response.headers, b"")

    async def _fetch_crumb(self, instead_of: Mapping[str, str] | None) -> Mapping[str, str]:
        """The headers to send; {} when Jenkins has crumbs switched off (404). Concurrent askers share one fetch."""
        async with self._crumb_lock:
            if self._crumb is not None and self._crumb is not instead_of:
                return self._crumb
            response = await self._send("crumb", "GET", "crumbIssuer/api/json", timeout=self._question_timeout)
            cookies = "; ".join(f"{cookie.key}={cookie.value}" for cookie in response.cookies.values())
            self._crumb = _crumb_headers(await self._whole(response), cookies)
            return self._crumb


def _authorization(userinfo: tuple[str, str] | None) -> dict[str, str]:
    if userinfo is None:
        return {}
    return {"Authorization": aiohttp.encode_basic_auth(*userinfo)}


def _crumb_headers(answer: JenkinsResponse, cookies: str) -> Mapping[str, str]:
    if answer.status != 200:
        # Whatever is wrong shows in the POST's own answer: 403 says what permission is missing, 5xx that it is down.
        return {}
    try:
        issued = json.loads(answer.body)
        crumb = {str(issued["crumbRequestField"]): str(issued["crumb"])}
    except (ValueError, KeyError, TypeError):
        raise JenkinsUnavailableError("Jenkins' crumb issuer answered something unreadable.") from None
    return crumb | {"Cookie": cookies} if cookies else crumb


def unavailable(error: Exception) -> JenkinsUnavailableError:
    """What happened to the connection, in words that carry neither URL nor header.

    aiohttp's own errors can hold the request with its Authorization header: they are not chained.
    """
    match error:
        case TimeoutError():
            reason = "it did not answer in time"
        case aiohttp.ClientConnectorCertificateError():
            reason = "its certificate is not trusted (SHUTTLE_CA_FILE names more authorities)"
        case aiohttp.ClientConnectorError():
            reason = f"cannot connect ({describe_connect_error(error)})"
        case aiohttp.ClientPayloadError():
            reason = "its answer was cut off"
        case aiohttp.ServerDisconnectedError():
            reason = "it closed the connection without an answer"
        case _:
            reason = f"the connection broke ({type(error).__name__})"
    return JenkinsUnavailableError(f"Jenkins is out of reach: {reason}.")
