"""Reads what a broken TLS connection had received: asyncio discards it, also a response that ended the request early.

A peer that refuses a long request (413) responds and closes the connection, so that writing fails while the response
is still in the socket's buffer. asyncio has no public way to decrypt it: its TLS protocol is a private attribute of the
transport, and a test fails when it is gone.
"""

import asyncio
import os
from contextlib import suppress
from typing import Any


def read_before_loss(transport: asyncio.BaseTransport) -> None:
    """From now on, pass received bytes to the application's protocol before a failed connection is reported as lost."""
    tls = getattr(transport, "_ssl_protocol", None)
    if tls is None:
        return

    def connection_lost(error: Exception | None) -> None:
        del tls.connection_lost  # the method itself; this ends the cycle of references, too
        if error is not None:
            read_received(transport)
        tls.connection_lost(error)

    tls.connection_lost = connection_lost


def read_received(transport: asyncio.BaseTransport) -> None:
    """Decrypt what is in the socket's buffer, and pass it to the application's protocol."""
    tls: Any = getattr(transport, "_ssl_protocol", None)
    socket = transport.get_extra_info("socket")
    if tls is None or socket is None:
        return
    with suppress(OSError):
        size_bytes = os.readv(socket.fileno(), [tls.get_buffer(-1)])
        if size_bytes:
            tls.buffer_updated(size_bytes)
