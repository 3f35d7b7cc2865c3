"""HTTP with one Jenkins: credentials, crumb, timeouts. A call returns a whole answer or raises an error."""

import asyncio
import json
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

import aiohttp
from yarl import URL

from shuttle.errors import JenkinsUnavailableError, ShuttleError
from shuttle.jenkins.credentials import CredentialsCheck
from shuttle.outgoing.faults import describe_connect_error
from shuttle.outgoing.lenient_client import RESPONSE_LIMITS, LenientConnector

# Jenkins answers this before it does anything, so the same POST can safely be repeated with a new crumb.
NO_CRUMB: Final = b"No valid crumb"
# Without it, Jenkins writes its messages in the language of its machine. Callers are shown some of them.
LANGUAGE: Final = "en"
READ_BUFFER_BYTES: Final = 256 * 1024
# A starting Jenkins accepts connections and sends nothing for 10 seconds and more. With a longer timeout, waiting
# queries would fill the budget and delay all others.
SILENCE_SECONDS: Final = 10.0


async def no_wait() -> None:
    """The default of `before_command`: commands are sent at once."""


def ignore_duration(_kind: str, _seconds: float) -> None:
    """The default of `observe`: request times are not measured."""


@dataclass(frozen=True, slots=True)
class JenkinsResponse:
    """A whole HTTP answer of any status but 401; redirects are not followed. Header names are case-insensitive."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class JenkinsSession:
    """The connections to one controller. Create it inside a running loop; any number of tasks of that loop may use it.

    `url` may contain `user:api-token`; an API token needs no crumb. With a password, or without userinfo, Jenkins
    requires a crumb and the session cookie that came with it; both are fetched again when Jenkins no longer knows them.
    Neither userinfo nor crumb is ever part of an error or a repr. Every call may raise the errors of
    `CredentialsCheck.answered` for a 401. Each command waits for `before_command` first.
    """

    def __init__(
        self,
        url: str,
        *,
        ssl_context: ssl.SSLContext | None = None,
        connect_timeout_seconds: float = 5,
        request_timeout_seconds: float = 30,
        observe: Callable[[str, float], None] = ignore_duration,
        before_command: Callable[[], Awaitable[None]] = no_wait,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        address = URL(url)
        self.url = str(address.with_user(None).with_query(None).with_fragment(None)).rstrip("/") + "/"
        self.userinfo = None if address.user is None else (address.user, address.password or "")
        self.credentials = CredentialsCheck(clock)
        self._observe = observe
        self.before_command = before_command
        # A command gets more time: after a lost answer it is costly to find out whether it was executed.
        self._command_timeout = aiohttp.ClientTimeout(total=request_timeout_seconds, connect=connect_timeout_seconds)
        self._query_timeout = aiohttp.ClientTimeout(
            total=request_timeout_seconds,
            connect=connect_timeout_seconds,
            sock_read=min(SILENCE_SECONDS, request_timeout_seconds),
        )
        self._connect_timeout_seconds = connect_timeout_seconds

        # No limit of connections: the budget limits polls, and a stop must not queue behind them.
        # The session's cookie is sent with a crumb only: with a token it could make Jenkins require a crumb.
        def session(*, keep_connections: bool) -> aiohttp.ClientSession:
            return aiohttp.ClientSession(
                connector=LenientConnector(limit=0, ssl=ssl_context or True, force_close=not keep_connections),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept-Encoding": "identity", "Accept-Language": LANGUAGE, **_authorization(self.userinfo)},
                read_bufsize=READ_BUFFER_BYTES,
                **RESPONSE_LIMITS,
            )

        self._queries = session(keep_connections=True)
        # Jenkins or a proxy may close a kept connection as a command is sent. Then it is unknown whether the command
        # was executed, and the search for its build costs more than a new connection. A query is simply repeated.
        self._commands = session(keep_connections=False)
        self._crumb: Mapping[str, str] | None = None
        self._crumb_lock = asyncio.Lock()

    def __repr__(self) -> str:
        return f"JenkinsSession({self.url})"

    async def close(self) -> None:
        """Close every connection. Idempotent."""
        await self._queries.close()
        await self._commands.close()

    async def get(self, kind: str, path: str) -> JenkinsResponse:
        """GET `path` (relative, already encoded)."""
        return await self._whole(await self._send(kind, "GET", path, timeout=self._query_timeout))

    async def post(
        self, kind: str, path: str, form: Mapping[str, str] | None = None, *, is_command: bool = True
    ) -> JenkinsResponse:
        """POST a form. It is not repeated after an error, because Jenkins may have executed the command.

        A POST that is no command (`is_command` False) changes nothing, and is not delayed by `before_command`.
        """
        if is_command:
            await self.before_command()
        crumb = self._crumb
        if crumb is None and self.userinfo is None:
            crumb = await self._fetch_crumb(instead_of=None)
        answer = await self._post(kind, path, form or {}, crumb)
        if answer.status == 403 and NO_CRUMB in answer.body:
            crumb = await self._fetch_crumb(instead_of=crumb)
            answer = await self._post(kind, path, form or {}, crumb)
        return answer

    async def stream(self, kind: str, path: str, *, idle_timeout_seconds: float) -> aiohttp.ClientResponse:
        """GET `path` and return once the headers have arrived; the caller reads the body and releases the response."""
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
            response = await (self._queries if method == "GET" else self._commands).request(
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
        """The answer with its body. A broken body is an error after GET with 200; else an empty body replaces it."""
        try:
            async with response:
                return JenkinsResponse(response.status, response.headers, await response.read())
        except (aiohttp.ClientError, OSError) as error:
            if response.method == "GET" and response.status == 200:
                raise unavailable(error) from None
            return JenkinsResponse(response.status, response.headers, b"")

    async def _fetch_crumb(self, instead_of: Mapping[str, str] | None) -> Mapping[str, str]:
        """The headers to send; {} if Jenkins issues no crumb. Concurrent callers share one request."""
        async with self._crumb_lock:
            if self._crumb is not None and self._crumb is not instead_of:
                return self._crumb
            response = await self._send("crumb", "GET", "crumbIssuer/api/json", timeout=self._query_timeout)
            cookies = "; ".join(f"{cookie.key}={cookie.value}" for cookie in response.cookies.values())
            self._crumb = _crumb_headers(await self._whole(response), cookies)
            return self._crumb


def _authorization(userinfo: tuple[str, str] | None) -> dict[str, str]:
    if userinfo is None:
        return {}
    return {"Authorization": aiohttp.encode_basic_auth(*userinfo)}


def _crumb_headers(answer: JenkinsResponse, cookies: str) -> Mapping[str, str]:
    if answer.status != 200:
        # 404: crumbs are disabled. The answer to the POST will show any other fault: 403 names the missing permission,
        # 5xx means an unavailable Jenkins.
        return {}
    try:
        issued = json.loads(answer.body)
        crumb = {str(issued["crumbRequestField"]): str(issued["crumb"])}
    except (ValueError, KeyError, TypeError):
        raise JenkinsUnavailableError("The answer of Jenkins' crumb issuer is unreadable.") from None
    return crumb | {"Cookie": cookies} if cookies else crumb


def unavailable(error: Exception) -> JenkinsUnavailableError:
    """The error for a failed connection; its text contains neither URL nor header.

    aiohttp's errors may contain the request with its Authorization header, so callers do not chain them.
    """
    match error:
        case TimeoutError():
            reason = "the request timed out"
        case aiohttp.ClientConnectorCertificateError():
            reason = "its certificate is not trusted (set SHUTTLE_CA_FILE to the authority's certificate)"
        case aiohttp.ClientConnectorError():
            reason = f"cannot connect ({describe_connect_error(error)})"
        case aiohttp.ClientPayloadError():
            reason = "its answer was cut off"
        case aiohttp.ServerDisconnectedError():
            reason = "it closed the connection without an answer"
        case _:
            reason = f"the connection broke ({type(error).__name__})"
    return JenkinsUnavailableError(f"Jenkins is out of reach: {reason}.")
