"""Describes why a request failed, without the library's own messages: they repeat the URL, which may hold secrets."""

import os

from aiohttp import (
    ClientConnectorCertificateError,
    ClientConnectorDNSError,
    ClientConnectorError,
    ClientError,
    ClientSSLError,
)

from shuttle.outgoing.lenient_client import ResponseHeadTooLargeError


def describe_fault(error: Exception) -> str:
    """Describe any error that a request can raise, except ShuttleError, as the end of a sentence about the host."""
    match error:
        case ClientConnectorCertificateError():
            description = "has a certificate that is not trusted here; SHUTTLE_CA_FILE names further authorities"
        case ClientSSLError():
            description = "failed the TLS handshake"
        case ClientConnectorDNSError():
            description = "has a host name that cannot be resolved"
        case ClientConnectorError():
            description = f"cannot be reached ({describe_connect_error(error)})"
        case TimeoutError():
            description = "timed out"
        case ResponseHeadTooLargeError():
            description = "answered with headers above the limits (64 KiB a line, 1,000 headers, 1 MiB in all)"
        case ClientError():
            description = f"broke the connection ({type(error).__name__})"
        case _:
            description = f"cannot be requested ({type(error).__name__})"
    return description


def describe_connect_error(error: ClientConnectorError) -> str:
    """The system's message for a failed connection attempt; asyncio's own message repeats the address."""
    number = error.os_error.errno
    return os.strerror(number) if number and number > 0 else "the connection failed"
