"""Why a host gave no answer, in words that follow its name; those of the library repeat the URL, maybe a secret."""

import os

from aiohttp import (
    ClientConnectorCertificateError,
    ClientConnectorDNSError,
    ClientConnectorError,
    ClientError,
    ClientSSLError,
)

from shuttle.outgoing.lenient_client import ResponseHeadTooLargeError


def what_broke(error: Exception) -> str:
    """Of any error that a request can raise, ours excepted."""
    match error:
        case ClientConnectorCertificateError():
            said = "has a certificate that is not trusted here; SHUTTLE_CA_FILE names further authorities"
        case ClientSSLError():
            said = "does not speak TLS as we do"
        case ClientConnectorDNSError():
            said = "has a host name that cannot be resolved"
        case ClientConnectorError():
            said = f"cannot be connected to ({why_unconnected(error)})"
        case TimeoutError():
            said = "took nothing, or gave no answer, in time"
        case ResponseHeadTooLargeError():
            said = "answers with headers beyond the limits (64 KiB a line, 1,000 headers, 1 MiB in all)"
        case ClientError():
            said = f"broke the connection ({type(error).__name__})"
        case _:
            said = f"cannot be asked ({type(error).__name__})"
    return said


def why_unconnected(error: ClientConnectorError) -> str:
    """What the system says of a connect that failed, by its number: asyncio's own text repeats the address."""
    number = error.os_error.errno
    return os.strerror(number) if number and number > 0 else "it is unreachable"
