"""Sends statuses to http(s) receivers: one POST, and its answer or a sentence that says why there is none."""

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from shuttle import __version__
from shuttle.delivery import DueDelivery, SendResult
from shuttle.delivery.signature import Signer
from shuttle.errors import ShuttleError
from shuttle.outgoing.connector import ConnectionUse
from shuttle.outgoing.faults import describe_connect_error
from shuttle.outgoing.lenient_client import ResponseHeadTooLargeError
from shuttle.outgoing.retry_after import retry_after_seconds
from shuttle.outgoing.urls import as_written
from shuttle.outgoing.userinfo import basic_authorization, split_userinfo

_MAX_ANSWER_BYTES = 64 * 1024
# The body of an answer is not used, and the build's next status waits until it is read.
_MAX_BODY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class HttpStatusSender:
    """See `shuttle.delivery.StatusSender`; `session` checks addresses."""

    session: aiohttp.ClientSession
    signer: Signer
    timeout_seconds: float

    async def post(self, delivery: DueDelivery, at: datetime) -> SendResult:
        """See the port; takes at most `timeout_seconds` from the name lookup to the end of the answer."""
        answer = SendResult()
        try:
            async with asyncio.timeout(self.timeout_seconds), await self._send(delivery, at) as response:
                # The status line decides: nothing after it can revoke a 2xx.
                retry_after = retry_after_seconds(response.headers, at)
                answer = SendResult(response.status, _refusal(response.status), retry_after)
                async with asyncio.timeout(_MAX_BODY_SECONDS):
                    await _discard_body(response)
        except (aiohttp.ClientError, ShuttleError, OSError, ValueError) as error:
            if answer.status_code is None:
                return SendResult(error=_describe(error))
        return answer

    async def _send(self, delivery: DueDelivery, at: datetime) -> aiohttp.ClientResponse:
        """Send once; retries at once if the request used a kept-alive connection that the receiver had closed."""
        url, headers = self._address(delivery, at)
        while True:
            use = ConnectionUse()
            try:
                return await self.session.post(
                    url, data=delivery.body, headers=headers, allow_redirects=False, trace_request_ctx=use
                )
            except (aiohttp.ClientError, OSError) as error:
                # The loop ends: each failure removes a connection from the pool, and a new one is not tried twice.
                if not use.explains(error):
                    raise

    def _address(self, delivery: DueDelivery, at: datetime) -> tuple[URL, CIMultiDict[str]]:
        """The URL without its userinfo, and the headers: ours replace those of the caller, except User-Agent."""
        url, credentials = split_userinfo(delivery.url)
        headers = CIMultiDict({"User-Agent": f"build-shuttle/{__version__}"} | dict(delivery.headers))
        if credentials is not None:
            headers["Authorization"] = basic_authorization(credentials)
        headers["Content-Type"] = "application/json"
        headers.update(self.signer.headers(delivery.webhook_id, at, delivery.body))
        return as_written(url), headers


async def _discard_body(response: aiohttp.ClientResponse) -> None:
    """Read a short body, so that the connection can be reused; close the connection of a long one."""
    left_bytes = _MAX_ANSWER_BYTES
    while left_bytes > 0:
        chunk = await response.content.read(left_bytes)
        if not chunk:
            return
        left_bytes -= len(chunk)
    response.close()


def _refusal(status: int) -> str | None:
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        return f"The receiver answered {status}; redirects are not followed."
    return f"The receiver answered {status}."


# The first match counts. The library's own texts repeat the URL, whose path may be a secret, so they are not used.
_FAULTS: Sequence[tuple[type[Exception] | tuple[type[Exception], ...], str]] = (
    (aiohttp.ConnectionTimeoutError, "The connection to the receiver timed out."),
    (aiohttp.ClientConnectorDNSError, "The receiver's host name could not be resolved."),
    (
        aiohttp.ClientConnectorCertificateError,
        "The receiver has a certificate that is not trusted here; SHUTTLE_CA_FILE names further authorities.",
    ),
    ((aiohttp.ClientSSLError, ssl.SSLError), "The TLS handshake with the receiver failed."),
    (aiohttp.InvalidURL, "The receiver's URL names no host that can be connected to."),
    (
        ResponseHeadTooLargeError,
        "The receiver answered with headers above the limits (64 KiB a line, 1,000 headers, 1 MiB in all).",
    ),
    (TimeoutError, "The receiver did not answer within the time limit."),
)


def _describe(error: Exception) -> str:
    if isinstance(error, ShuttleError):
        return error.message
    for kinds, sentence in _FAULTS:
        if isinstance(error, kinds):
            return sentence
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"The receiver cannot be reached: {describe_connect_error(error)}."
    if isinstance(error, (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError, ConnectionError)):
        return "The receiver closed the connection without an answer."
    return f"The receiver's answer could not be read ({type(error).__name__})."
