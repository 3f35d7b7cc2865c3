"""One request to the service, and its answer."""

import http.client
import json
import socket
import time
from contextlib import suppress
from typing import Any, BinaryIO, Callable, Dict, Mapping, Optional, Union

from bldst import __version__
from bldst.addresses import Address, redirected_address
from bldst.answers import Answer
from bldst.errors import CommandError
from bldst.settings import Settings

ANSWER_LIMIT_BYTES = 8 * 2**20
_CHUNK_BYTES = 65536
_REDIRECTS = 5
_RETRY_AFTER_SECONDS = 0.2
# The service stores a file in its object store before it answers: 1 GiB takes a minute or two.
_STORING_SECONDS = 600


class Client:
    """Sends requests to the service, each over a connection of its own.

    A connection that fails at once is tried once more, because nothing was sent yet. A request that was sent is never
    repeated: whether the service has done it is unknown.
    """

    def __init__(self, settings: Settings, say: Callable[[str], None]) -> None:
        self._address = Address.parse(settings.require_api_url())
        self._credentials = settings.credentials()
        self._timeout_seconds = settings.timeout_seconds
        self._environment = settings.environment
        self._verbose = settings.verbose
        self._say = say

    def send(
        self,
        method: str,
        path: str,
        query: Optional[Mapping[str, Any]] = None,
        body: Any = None,
        form: Optional[Mapping[str, str]] = None,
        *,
        file: Optional[BinaryIO] = None,
        size_bytes: int = 0,
    ) -> Answer:
        """Send a request; a body is sent as JSON, a form as a form, a file as its `size_bytes` bytes.

        Raises:
            CommandError: No answer, or one that is not the service's.
        """
        headers = {"Accept": "application/json", "User-Agent": "bldst/" + __version__, **self._credentials}
        content: Union[bytes, BinaryIO, None] = file
        if file is not None:
            headers.update({"Content-Type": "application/octet-stream", "Content-Length": str(size_bytes)})
        elif body is not None:
            content = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        elif form is not None:
            content = _query_text(form).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        address = self._address.at(path + ("?" + _query_text(query) if query else ""))
        for _ in range(_REDIRECTS):
            answer = self._exchange(method, address, content, headers)
            if answer.status not in (301, 302, 303, 307, 308):
                return answer
            address = redirected_address(address, answer.header("Location"))
            if answer.status == 303:
                method, content = "GET", None
        raise CommandError(f"{self._address.host} redirects without end")

    def _exchange(
        self, method: str, address: Address, content: Union[bytes, BinaryIO, None], headers: Dict[str, str]
    ) -> Answer:
        started = time.monotonic()
        limit = f"{self._timeout_seconds:g} s (BLDST_TIMEOUT)"
        deadline = started + self._timeout_seconds
        connection = self._connect(address)
        target = address.target(self._environment)
        headers = {**headers, **address.proxy_headers(self._environment)}
        try:
            connection.sock.settimeout(max(deadline - time.monotonic(), 0.001))
            if content is None or isinstance(content, bytes):
                connection.request(method, target, content, headers)
            else:
                self._send_file(connection, method, target, content, headers)
                deadline, limit = time.monotonic() + _STORING_SECONDS, f"{_STORING_SECONDS:g} s after the file was sent"
            answer = _read_answer(connection, deadline, address)
        except socket.timeout:  # until Python 3.9 it is no TimeoutError
            raise CommandError(f"{address.host} did not answer within {limit}") from None
        except http.client.IncompleteRead:
            raise CommandError(f"{address.host} closed the connection in the middle of its answer") from None
        except (OSError, http.client.HTTPException) as error:
            raise CommandError(f"{address.host} gave no answer: {_reason(error)}") from None
        finally:
            connection.close()
        if self._verbose:
            milliseconds = (time.monotonic() - started) * 1000
            self._say(f"{method} {address.shown()}: {answer.status}, {milliseconds:.0f} ms")
        return answer

    def _send_file(
        self, connection: http.client.HTTPConnection, method: str, target: str, file: BinaryIO, headers: Dict[str, str]
    ) -> None:
        """Send a file; the timeout applies to each block of it, because a large file takes longer."""
        connection.sock.settimeout(self._timeout_seconds)
        file.seek(0)
        with suppress(BrokenPipeError, ConnectionResetError):  # if it is refused unread, the answer says why
            connection.request(method, target, file, headers)

    def _connect(self, address: Address) -> http.client.HTTPConnection:
        for attempt in (1, 2):
            connection = address.connection(self._environment, self._timeout_seconds)
            try:
                connection.connect()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if attempt == 2 or isinstance(error, socket.timeout):
                    raise CommandError(f"{address.host} is not reachable: {_reason(error)}") from None
                time.sleep(_RETRY_AFTER_SECONDS)
            else:
                break
        return connection


def _read_answer(connection: http.client.HTTPConnection, deadline: float, address: Address) -> Answer:
    """Read the answer before the deadline: a server that sends a byte now and then must not hold a pipeline.

    The headers are an exception: there the deadline is that of each byte.
    """
    sock = connection.sock
    sock.settimeout(max(deadline - time.monotonic(), 0.001))
    response = connection.getresponse()
    expected = response.length  # None if the end of the answer is the end of the connection, or a last chunk
    content = bytearray()
    while expected is None or len(content) < expected:
        sock.settimeout(max(deadline - time.monotonic(), 0.001))
        chunk = response.read1(_CHUNK_BYTES)
        if not chunk:
            break
        content += chunk
        if len(content) > ANSWER_LIMIT_BYTES:
            mebibytes = ANSWER_LIMIT_BYTES // 2**20
            raise CommandError(
                f"the answer of {address.host} is larger than {mebibytes} MiB; ask for less with --limit"
            )
    if expected and len(content) < expected:
        raise http.client.IncompleteRead(bytes(content), expected - len(content))
    return Answer(response.status, response.reason, response.headers, bytes(content), address.host)


def _query_text(values: Mapping[str, Any]) -> str:
    from urllib.parse import urlencode

    texts = {name: str(value).lower() if isinstance(value, bool) else value for name, value in values.items()}
    return urlencode(texts)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
