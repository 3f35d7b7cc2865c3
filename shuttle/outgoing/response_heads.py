"""Reads the head of an HTTP response as leniently as curl does, and rewrites it in a strict form.

Servers and proxies send heads that strict parsers refuse: two lengths, a length together with chunks, a space before a
colon, a body after 204. Refusing them would lose the status in the first line, and the request would be repeated
although the peer has processed it.
"""

import re
from dataclasses import dataclass
from enum import Enum

MAX_LINE_BYTES = 64 * 1024
MAX_HEADERS = 1000
# The two limits above alone would allow 64 MiB for each connection.
MAX_HEAD_BYTES = 1024 * 1024

_END = re.compile(rb"\n\r?\n")
_STATUS = re.compile(rb"HTTP/([0-9])(?:\.([0-9]))?[ \t]+([1-9][0-9]{2})(?:[ \t]([^\r\n]*))?\r?(?=\n|\Z)")
_NAME = re.compile(rb"[A-Za-z0-9!#$%&'*+\-.^_`|~]+")
# RFC 9110, 5.5: a value cannot contain these characters; the recipient may replace each by a space.
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})
# RFC 9110, 6.4.1: responses with these statuses have no body, whatever their headers say.
_WITHOUT_BODY = frozenset({204, 304})

Headers = list[tuple[bytes, bytes]]


class HeadTooLargeError(ValueError):
    """The head exceeds MAX_LINE_BYTES, MAX_HEADERS or MAX_HEAD_BYTES."""


class Body(Enum):
    """The kind of body that follows a head."""

    FRAMED = "framed"
    """No body, or a body that ends after a length or with the connection."""
    CHUNKED = "chunked"
    """Chunks, which may break the rules, too (`response_chunks`)."""
    FORBIDDEN = "forbidden"
    """A body that this status must not have: it is ignored, and the connection cannot be reused."""
    UNREADABLE = "unreadable"
    """A body whose lengths contradict each other: the status is known, the end of the body is not."""


@dataclass(frozen=True, slots=True)
class Head:
    """A parsed head: `text` is its strict form."""

    status: int
    text: bytes
    body: Body

    @property
    def is_interim(self) -> bool:
        """Whether another head follows (1xx, except 101: after a switch of protocols there is no more HTTP)."""
        return self.status < 200 and self.status != 101


def end_of_head(received: bytes | bytearray, scanned: int = 0) -> int | None:
    """The offset after the empty line that ends the head; the first `scanned` bytes were searched before."""
    end = _END.search(received, max(0, scanned - 3))
    return None if end is None else end.end()


def is_beyond_limits(received: bytes | bytearray) -> bool:
    """Whether an incomplete head is already too large, so that waiting for its end is pointless."""
    return len(received) > MAX_HEAD_BYTES or len(received) - received.rfind(b"\n") - 2 > MAX_LINE_BYTES


def read_head(head: bytes) -> Head | None:
    """Parse a complete head; None = its first line is not a status line.

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


def read_truncated_head(received: bytes) -> Head | None:
    """Parse the complete lines of a head in which the connection ended: the status is valid, the body is unreadable.

    None = the first line is incomplete, or is not a status line. Raises HeadTooLargeError.
    """
    lines = received[: received.rfind(b"\n") + 1]
    return read_head(lines + b"Content-Length: truncated\r\n\r\n") if lines else None


def _read_status(line: bytes) -> tuple[int, bytes] | None:
    match = _STATUS.fullmatch(line)
    if match is None:
        return None
    major, minor, status, reason = match.groups()
    # HTTP/1.0 keeps a connection open only on request; all other versions are treated as 1.1.
    version = b"1.0" if major == b"0" or (major, minor) == (b"1", b"0") else b"1.1"
    return int(status), b"HTTP/%b %b %b" % (version, status, _CONTROL.sub(b" ", reason or b"").strip())


def _read_headers(lines: list[bytes]) -> Headers:
    """Parse the headers: folded lines are joined, lines that are not headers are left out."""
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
    """Determine where the body ends, and the header that says so: chunks override a length (RFC 9112, 6.3)."""
    codings = _listed(headers, b"transfer-encoding")
    lengths = {length.removeprefix(b"+") for length in _listed(headers, b"content-length")}
    if status in _WITHOUT_BODY or status < 200:
        # The length in a 304 is that of the body of a 200; a 304 itself has none.
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
    """The values, in lower case, of a header that may be repeated or contain a list."""
    values = [value for name, value in headers if name.lower() == wanted]
    return [part.strip(b" \t").lower() for value in values for part in value.split(b",") if part.strip(b" \t")]


def _written(first_line: bytes, headers: Headers) -> bytes:
    return b"".join([first_line, b"\r\n", *(b"%b: %b\r\n" % header for header in headers), b"\r\n"])
