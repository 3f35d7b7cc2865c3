"""A server that answers in the middle of a long request and closes: its status counts, with and without TLS."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shuttle.outgoing.connector import AddressPolicy, outgoing_session
from tests.support.certificates import loopback_tls

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset at once


def answer_and_close(listening: socket.socket, tls: ssl.SSLContext | None, read_bytes: int, *, reset: bool) -> None:
    connection, _ = listening.accept()
    connection.settimeout(10)
    # As servers do. Otherwise the kernel may hold the answer back until TLS' tickets are acknowledged, and drop it.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if tls is not None:
        connection = tls.wrap_socket(connection, server_side=True)
    with connection:
        received_bytes = 0
        while received_bytes < read_bytes:
            received_bytes += len(connection.recv(65_536))
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\nlarge")
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


async def long_body() -> AsyncIterator[bytes]:
    for _ in range(200):
        yield bytes(65_536)
        await asyncio.sleep(0)  # as reading a log does


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("read_bytes", [1, 300_000])
@pytest.mark.parametrize("with_tls", [False, True])
async def test_status_that_is_followed_by_a_reset_is_received(
    tmp_path: Path, with_tls: bool, read_bytes: int, reset: bool
) -> None:
    tls, ca_file = loopback_tls(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http{'s' if with_tls else ''}://127.0.0.1:{listening.getsockname()[1]}/"
        answering = asyncio.create_task(
            asyncio.to_thread(answer_and_close, listening, tls if with_tls else None, read_bytes, reset=reset)
        )
        async with (
            outgoing_session(AddressPolicy(allow_loopback=True), ca_file=ca_file) as session,
            asyncio.timeout(10),
            session.post(url, data=long_body(), allow_redirects=False) as response,
        ):
            assert response.status == 413
        await answering
