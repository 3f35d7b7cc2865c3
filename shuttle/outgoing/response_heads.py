"""The head of an HTTP response, read as leniently as curl does and written again in the one form every parser takes.

Servers and proxies send heads that strict parsers refuse: two lengths, a length beside chunks, a space before a colon,
a body after 204. Refusing them would lose a status that is in the first line, and repeat what the peer has taken.
"""

import re
from dataclasses import dataclass
from enum import Enum

MAX_LINE_BYTES = 64 * 1024
MAX_HEADERS = 1000
# Both limits together would allow 64 MiB for each connection.
MAX_HEAD_BYTES = 1024 * 1024

_END = re.compile(rb"\n\r?\n")
_STATUS = re.compile(rb"HTTP/([0-9])(?:\.([0-9]))?[ \t]+([1-9][0-9]{2})(?:[ \t]([^\r\n]*))?\r?(?=\n|\Z)")
_NAME = re.compile(rb"[A-Za-z0-9!#$%&'*+\-.^_`|~]+")
# RFC 9110, 5.5: these cannot be in a value; the recipient may put a space in their place.
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})
# RFC 9110, 6.4.1: whatever the headers say.
_WITHOUT_BODY = frozenset({204, 304})

Headers = list[tuple[bytes, bytes]]


class HeadTooLargeError(ValueError):
    """More than the limits above."""


class Body(Enum):
    """What follows a head."""

    FRAMED = "framed"
    """Nothing, or a body whose end the head defines (a length, the end of the connection)."""
    CHUNKED = "chunked"
    """Chunks, which may be loose as well (`response_chunks`)."""
    FORBIDDEN = "forbidden"
    """Bytes that this status cannot have: the connection cannot be used again."""
    UNREADABLE = "unreadable"
    """Lengths that contradict each other: the status is known, the body's end is not."""


@dataclass(frozen=True, slots=True)
class Head:
    """A head that was understood: `text` is its one strict form."""

    status: int
    text: bytes
    body: Body

    @property
    def is_interim(self) -> bool:
        """Whether another head follows (1xx, except for a switch of protocols, which ends HTTP)."""
        return self.status < 200 and self.status != 101


def end_of_head(received: bytes | bytearray, scanned: int = 0) -> int | None:
    """The offset behind the empty line that ends the head; `scanned` bytes were looked at before."""
    end = _END.search(received, max(0, scanned - 3))
    return None if end is None else end.end()


def is_beyond_limits(received: bytes | bytearray) -> bool:
    """Whether a head that has not ended is too large already, so that its end need not be waited for."""
    return len(received) > MAX_HEAD_BYTES or len(received) - received.rfind(b"\n") - 2 > MAX_LINE_BYTES


def read_head(head: bytes) -> Head | None:
    """Understand a whole head; None = its first line is no status line.

    Raises HeadTooLargeError.
    """
    status_line, *lines = head.rstrip(b"\r\n").split(b"\n")
    if len(head) > MAX_HEAD_BYTES or len(status_line.rstrip(b"\r")) > MAX_LINE_BYTES:
        raise HeadTooLargeError
    start = _read_status(status_line)
    if start is None:
        return None
    headers = _read_headers(lines)
    status, first_line = start
    body, framing = _read_framing(status, headers)
    kept = [(name, value) for name, value in headers if name.lower() not in _FRAMING]
    return Head(status, _written(first_line, kept + framing), body)


def read_cut_head(received: bytes) -> Head | None:
    """Understand the whole lines of a head within which the connection has ended: its status counts, its body is lost.

    None = the status line is not whole, or no status line. Raises HeadTooLargeError.
    """
    lines = received[: received.rfind(b"\n") + 1]
    return read_head(lines + b"Content-Length: cut\r\n\r\n") if lines else None


def _read_status(line: bytes) -> tuple[int, bytes] | None:
    match = _STATUS.fullmatch(line)
    if match is None:
        return None
    major, minor, status, reason = match.groups()
    # HTTP/1.0 keeps a connection only when asked to; every other version is answered in the framing of 1.1.
    version = b"1.0" if major == b"0" or (major, minor) == (b"1", b"0") else b"1.1"
    return int(status), b"HTTP/%b %b %b" % (version, status, _CONTROL.sub(b" ", reason or b"").strip())


def _read_headers(lines: list[bytes]) -> Headers:
    """The headers, folded lines joined; lines that are none are left out."""
    joined: list[bytes] = []
    for line in lines:
        if line[:1] in {b" ", b"\t"} and joined:
            joined[-1] += b" " + line.strip()
        else:
            joined.append(line.strip(b"\r"))
    if len(joined) > MAX_HEADERS or any(len(line) > MAX_LINE_BYTES for line in joined):
        raise HeadTooLargeError
    headers = []
    for line in joined:
        name, colon, value = line.partition(b":")
        name = name.strip(b" \t")
        if colon and _NAME.fullmatch(name):
            headers.append((name, _CONTROL.sub(b" ", value).strip(b" \t")))
    return headers


def _read_framing(status: int, headers: Headers) -> tuple[Body, Headers]:
    """Where the body ends, and the header that says so: chunks win over a length (RFC 9112, 6.3)."""
    codings = _listed(headers, b"transfer-encoding")
    lengths = {length.removeprefix(b"+") for length in _listed(headers, b"content-length")}
    if status in _WITHOUT_BODY or status < 200:
        # A 304 names the length of what it does not send.
        declared = bool(codings) or (status == 204 and bool(lengths - {b"0"}))
        return (Body.FORBIDDEN if declared else Body.FRAMED), []
    if codings and codings[-1] == b"chunked":
        return Body.CHUNKED, [(b"Transfer-Encoding", b"chunked")]
    if [coding for coding in codings if coding != b"identity"] or not lengths:
        return Body.FRAMED, []
    length = lengths.pop()
    if lengths or not length.isdigit() or len(length) > 18:
        return Body.UNREADABLE, [(b"Transfer-Encoding", b"chunked")]
    return Body.FRAMED, [(b"Content-Length", length)]


def _listed(headers: Headers, wanted: bytes) -> list[bytes]:
    """The values of a header that may be repeated or hold a list, in lower case."""
    values = [value for name, value in headers if name.lower() == wanted]
    return [part.strip(b" \t").lower() for value in values for part in value.split(b",") if part.strip(b" \t")]


def _written(first_line: bytes, headers: Headers) -> bytes:
    return b"".join([first_line, b"\r\n", *(b"%b: %b\r\n" % header for header in headers), b"\r\n"])
