"""Checks the headers that a caller wants to have sent with its URLs."""

import re
from typing import Any

from shuttle.errors import InvalidRequestError

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]{1,256}")
# RFC 9110, 5.5: a field value is visible text, spaces and tabs; other characters could end the header.
_HEADER_TEXT = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]*")
_MAX_HEADER_BYTES = 8192
# Hop-by-hop headers (RFC 9110, 7.6.1), headers that frame the message, and headers that the shuttle sets.
_RESERVED = re.compile(
    r"connection|keep-alive|proxy-.*|te|trailer|transfer-encoding|upgrade|expect|host"
    r"|content-.*|shuttle-.*|webhook-(?:id|timestamp|signature)",
    re.IGNORECASE,
)


def check_headers(headers: Any, name: str) -> dict[str, str]:
    """Return `headers`, the value of the request's field `name`, if all of them can be sent.

    Raises:
        InvalidRequestError: a header cannot be sent, or may not be set by a caller; the error's field names it.
    """
    if not isinstance(headers, dict):
        raise InvalidRequestError("Write headers as an object of names and texts.", field=name)
    seen: set[str] = set()
    for key, value in headers.items():
        where = f"{name}.{key}"
        if not _TOKEN.fullmatch(key):
            raise InvalidRequestError("Write a header name of up to 256 letters, digits and dashes.", field=where)
        if _RESERVED.fullmatch(key):
            raise InvalidRequestError("Leave this header out: the shuttle or the connection sets it.", field=where)
        if key.lower() in seen:
            raise InvalidRequestError("Name each header once; upper and lower case are the same name.", field=where)
        seen.add(key.lower())
        if not isinstance(value, str):
            raise InvalidRequestError("Write the header's value as a text.", field=where)
        if not _HEADER_TEXT.fullmatch(value) or len(value.encode()) > _MAX_HEADER_BYTES:
            raise InvalidRequestError(
                f"Write the header's value in up to {_MAX_HEADER_BYTES} bytes without line ends or control characters.",
                field=where,
            )
    return headers
