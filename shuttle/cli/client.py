"""The commands' HTTP client of a running shuttle."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import aiohttp
from yarl import URL

from shuttle.cli.failures import ServiceRefusedError, ServiceUnreachableError, UsageError
from shuttle.outgoing.lenient_client import RESPONSE_LIMITS, LenientConnector
from shuttle.outgoing.tls import tls_context

Answer = TypeVar("Answer")

# Long enough for a body of 64 MiB over a slow connection; a service that hangs does not block a terminal for ever.
_ANSWER_SECONDS = 300
_CONNECT_SECONDS = 5
# A quiet log sends nothing, so a connection that died silently is found by a new request at the current offset.
_QUIET_SECONDS = 120
# A restart of the service takes seconds; the user need not follow the log again by hand.
_RECONNECT_FOR_SECONDS = 60
_RECONNECT_PAUSE_SECONDS = 0.5
# What a proxy in front of the service answers by itself.
_PROXY_ANSWERS = {
    413: "accepts no body of this size; raise its limit",
    502: "cannot reach the service; check that it runs",
    503: "cannot reach the service; check that it runs",
    504: "got no answer from the service in time",
}


@dataclass(frozen=True, slots=True)
class Submission:
    """The response to a build request. `replayed`: the build had been accepted before, and nothing new started."""

    replayed: bool
    warnings: tuple[str, ...]
    ignored_fields: tuple[str, ...]


class ShuttleClient:
    """A client of one service; an async context manager.

    `url` may have a token as userinfo; `token` takes precedence. Every call may raise ServiceRefusedError with the
    service's message, or ServiceUnreachableError. No error shows the token.
    """

    def __init__(self, url: str, token: str = "", *, ca_file: Path | None = None) -> None:
        try:
            parsed = URL(url.rstrip("/") + "/")
        except ValueError:
            raise UsageError("--url (SHUTTLE_URL) is not a URL; write http(s)://host[:port].") from None
        if parsed.scheme not in {"http", "https"} or not parsed.host:
            raise UsageError("--url (SHUTTLE_URL) must be http(s)://host[:port].")
        self._url = parsed.with_user(None)
        self._headers = _credentials(parsed, token)
        self._tls = tls_context(ca_file)
        self._session: aiohttp.ClientSession | None = None

    @property
    def address(self) -> str:
        """The service's address without credentials, for messages."""
        return str(self._url).rstrip("/")

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=LenientConnector(ssl=self._tls),
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(total=_ANSWER_SECONDS, sock_connect=_CONNECT_SECONDS),
            **RESPONSE_LIMITS,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def ready(self) -> bool:
        """Whether the service and all its dependencies are ready."""
        async with self._open("GET", "readyz", refuse=False) as response:
            return response.status == 200

    async def submit(self, app_id: str, build_id: str, request: Mapping[str, Any]) -> Submission:
        """Request a build; once this returns, it is durably accepted."""
        return await self._submit(_path(app_id, build_id), request)

    async def submit_legacy(self, body: Mapping[str, Any]) -> Submission:
        """Request a build by the older API."""
        return await self._submit("", body)

    async def _submit(self, path: str, body: Mapping[str, Any]) -> Submission:
        async with self._open("POST", path, json=body) as response:
            return Submission(
                replayed=response.headers.get("Shuttle-Replayed") == "true",
                warnings=tuple(response.headers.getall("Shuttle-Warnings", [])),
                ignored_fields=tuple(response.headers.getall("Shuttle-Ignored-Fields", [])),
            )

    async def number_of(self, app_id: str, build_uuid: str) -> str:
        """The number of a build that was just accepted; the older API's response does not have it."""
        page = await self.builds(app_id, limit="200")
        for build in page["builds"]:
            if build["build_uuid"] == build_uuid:
                return str(build["build_id"])
        raise ServiceRefusedError("The build is not among the newest 200 of its app.")

    async def build(self, app_id: str, build_id: str) -> dict[str, Any]:
        """The service's whole record of a build."""
        return await self._json("GET", _path(app_id, build_id))

    async def stop(self, app_id: str, build_id: str) -> str:
        """Request the stop of a build; once this returns, the stop is durably recorded. Returns `OK`.

        For builds of the older API it returns `ok`, even for builds that have ended.
        """
        return str((await self._json("DELETE", _path(app_id, build_id)))["status"])

    async def builds(self, app_id: str | None, **query: str) -> dict[str, Any]:
        """One page of builds, newest first, of an app or of all: {"builds": […], "next": cursor or null}."""
        return await self._json("GET", "-/builds" if app_id is None else _path(app_id), **query)

    async def replicas(self) -> list[dict[str, Any]]:
        """The replicas that are considered alive, with what each of them owns."""
        return list((await self._json("GET", "-/replicas"))["replicas"])

    async def deliveries(self, **query: str) -> list[dict[str, Any]]:
        """The ledger of status webhooks, filtered by app_id, build_id and state if given."""
        return list((await self._json("GET", "-/deliveries", **query))["deliveries"])

    async def replay(self, delivery_id: int | None, **query: str) -> dict[str, Any]:
        """Make one delivery due again, or all deliveries of an app or a build that were given up."""
        path = "-/deliveries/replay" if delivery_id is None else f"-/deliveries/{delivery_id}/replay"
        return await self._json("POST", path, **query)

    async def idle_apps(self, **query: str) -> dict[str, Any]:
        """One page of apps whose newest build ended long ago: {"apps": […], "next": cursor or null}."""
        return await self._json("GET", "-/apps/idle", **query)

    async def prune_apps(self, **query: str) -> dict[str, Any]:
        """Have the Jenkins jobs of up to 200 idle apps deleted, and return these apps, as `idle_apps` does."""
        return await self._json("POST", "-/apps/prune", **query)

    async def log(self, app_id: str, build_id: str, *, offset: int, follow: bool) -> AsyncIterator[bytes]:
        """The log's bytes from `offset`; with `follow` until its end, even across restarts of the service."""
        failing_since: float | None = None
        while True:
            try:
                async with self._log_response(app_id, build_id, offset, follow=follow) as response:
                    failing_since = None
                    complete = response.headers.get("Shuttle-Log-Complete") == "true"
                    # A service that was killed may have less of a running log than it had sent. Then the response
                    # begins at the end of what it has.
                    at = min(offset, int(response.headers.get("Shuttle-Log-Offset", offset)))
                    async for piece in response.content.iter_any():
                        new = piece[offset - at :]
                        at += len(piece)
                        if new:
                            offset = at
                            yield new
                if complete or not follow:
                    return
            except ServiceUnreachableError:
                failing_since = failing_since or time.monotonic()
                if not follow or time.monotonic() - failing_since > _RECONNECT_FOR_SECONDS:
                    raise
                await asyncio.sleep(_RECONNECT_PAUSE_SECONDS)  # no signal reports that a service is back

    async def until_log_ends(self, app_id: str, build_id: str) -> None:
        """Follow the log from where it is now, and discard it."""
        build = await self._patiently(lambda: self.build(app_id, build_id))
        async for _ in self.log(app_id, build_id, offset=build["log"]["bytes"], follow=True):
            pass

    async def end_of(self, app_id: str, build_id: str) -> dict[str, Any]:
        """The build, once it is final. To be called at the end of its log, which comes moments before or after that."""
        while True:
            build = await self._patiently(lambda: self.build(app_id, build_id))
            if build["timestamps"]["finished_at"] is not None:
                return build
            await asyncio.sleep(0.1)  # the log's end and the final state are two writes, moments apart

    async def _patiently(self, read: Callable[[], Awaitable[Answer]]) -> Answer:
        """Read again if the service is unreachable for a while, as when it is restarted."""
        began_at = time.monotonic()
        while True:
            try:
                return await read()
            except ServiceUnreachableError:
                if time.monotonic() - began_at > _RECONNECT_FOR_SECONDS:
                    raise
                await asyncio.sleep(_RECONNECT_PAUSE_SECONDS)  # no signal reports that a service is back

    @asynccontextmanager
    async def _log_response(
        self, app_id: str, build_id: str, offset: int, *, follow: bool
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_QUIET_SECONDS)
        query = {"offset": str(offset), **({"follow": "true"} if follow else {})}
        async with self._open("GET", f"{_path(app_id, build_id)}/logs", params=query, timeout=timeout) as response:
            yield response

    async def _json(self, method: str, path: str, **query: str) -> dict[str, Any]:
        async with self._open(method, path, params=query) as response:
            try:
                answer: dict[str, Any] = await response.json()
            except ValueError:
                raise self._not_a_shuttle(response.status) from None
            return answer

    @asynccontextmanager
    async def _open(
        self, method: str, path: str, *, refuse: bool = True, **options: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._session is None:
            raise RuntimeError("ShuttleClient is used outside of its `async with`")
        # Ids are sent unchanged: what `_path` has quoted must not be unquoted or normalized.
        url = URL(f"{self._url}{path}", encoded=True)
        try:
            # A redirect would turn a POST into a GET, and reveal the token to another server.
            async with self._session.request(method, url, allow_redirects=False, **options) as response:
                if refuse and response.status >= 300:
                    raise await self._refusal(response)
                yield response
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ServiceUnreachableError(
                f"No answer from {self.address} ({_reason(error)}):"
                " start it with `shuttle serve`, or name another address in SHUTTLE_URL."
            ) from None

    async def _refusal(self, response: aiohttp.ClientResponse) -> Exception:
        try:
            answer = await response.json()
            message = str(answer.get("message") or answer["status"])  # the older API's refusals have only a status
        except (ValueError, LookupError, AttributeError, aiohttp.ContentTypeError):
            return self._not_a_shuttle(response.status)
        if response.status == 503:
            return ServiceUnreachableError(message)  # temporary: following a log continues when the service is back
        field = answer.get("field")
        return ServiceRefusedError(f"{field}: {message}" if field and field not in message else message)

    def _not_a_shuttle(self, status: int) -> ServiceUnreachableError:
        if status in _PROXY_ANSWERS:
            return ServiceUnreachableError(f"{self.address} answered {status}: a proxy there {_PROXY_ANSWERS[status]}.")
        return ServiceUnreachableError(
            f"{self.address} answered {status}, but it is not a shuttle; set SHUTTLE_URL to the service's address."
        )


def ask(url: str, token: str, question: Callable[[ShuttleClient], Awaitable[Answer]]) -> Answer:
    """Run one conversation with the service; SHUTTLE_CA_FILE names additional certificate authorities."""
    ca_file = os.environ.get("SHUTTLE_CA_FILE")

    async def conversation() -> Answer:
        async with ShuttleClient(url, token, ca_file=Path(ca_file) if ca_file else None) as client:
            return await question(client)

    return asyncio.run(conversation())


def _credentials(url: URL, token: str) -> dict[str, str]:
    if token:
        return {"Authorization": f"Bearer {token}"}
    if url.user is None:
        return {}
    return {"Authorization": aiohttp.encode_basic_auth(url.user, url.password or "")}


def _reason(error: Exception) -> str:
    """The reason in plain words: aiohttp's messages show internals and headers."""
    match error:
        case TimeoutError():
            return "timed out"
        case aiohttp.ClientConnectorCertificateError():
            return "its certificate is not trusted; SHUTTLE_CA_FILE names further authorities"
        case aiohttp.ClientConnectorError(os_error=cause):
            return os.strerror(cause.errno).lower() if cause.errno and cause.errno > 0 else "its host name is unknown"
        case aiohttp.ClientPayloadError() | aiohttp.ServerDisconnectedError():
            return "connection lost"
        case _:
            return type(error).__name__


def _path(*segments: str) -> str:
    return "/".join(quote(segment, safe="") for segment in segments)
