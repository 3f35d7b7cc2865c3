"""A SOCKS5 proxy on loopback for programs that resolve names themselves: it connects to allowed addresses only."""

import asyncio
import secrets
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field

from shuttle.errors import AddressRefusedError
from shuttle.outgoing.connector import CheckingResolver

_VERSION, _PASSWORD_VERSION = 5, 1
_WITH_PASSWORD, _NO_METHOD = 2, 0xFF
_CONNECT = 1
_IPV4, _NAME, _IPV6 = 1, 3, 4
_SUCCEEDED, _FAILED, _NOT_ALLOWED, _UNREACHABLE, _UNKNOWN_COMMAND, _UNKNOWN_ADDRESS = 0, 1, 2, 4, 7, 8
_HANDSHAKE_SECONDS = 10
_CONNECT_SECONDS = 10
_CHUNK_BYTES = 64 * 1024


@dataclass(slots=True)
class CheckingProxy:
    """A running proxy, for those who know its password. `refusal` is the first address that was refused."""

    password: str = field(repr=False)
    port: int = 0
    refusal: AddressRefusedError | None = None

    @property
    def url(self) -> str:
        """The proxy's URL for curl and git; `h`: the proxy resolves the names."""
        return f"socks5h://shuttle:{self.password}@127.0.0.1:{self.port}"


class _RefusedError(Exception):
    """The request of a client cannot be fulfilled; its argument is the reply of RFC 1928, section 6."""


@asynccontextmanager
async def checking_proxy(resolver: CheckingResolver) -> AsyncIterator[CheckingProxy]:
    """Run a proxy whose connections go to the addresses that `resolver` allows. RFC 1928 and 1929; CONNECT only."""
    clients: set[asyncio.Task[None]] = set()
    proxy = CheckingProxy(secrets.token_hex())

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = asyncio.create_task(_serve(reader, writer, proxy, resolver))
        clients.add(client)
        client.add_done_callback(clients.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)


async def _serve(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, proxy: CheckingProxy, resolver: CheckingResolver
) -> None:
    with closing(writer), suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
        async with asyncio.timeout(_HANDSHAKE_SECONDS):
            await _authenticate(reader, writer, proxy.password)
            try:
                host, port = await _requested(reader)
            except _RefusedError as refused:
                await _reply(writer, refused.args[0])
                return
        try:
            connection = await _connected(host, port, resolver)
        except AddressRefusedError as error:
            proxy.refusal = proxy.refusal or error
            await _reply(writer, _NOT_ALLOWED)
            return
        except OSError:
            await _reply(writer, _UNREACHABLE)
            return
        far_reader, far_writer = await asyncio.open_connection(sock=connection)
        with closing(far_writer):
            await _reply(writer, _SUCCEEDED)
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(_copy(reader, far_writer))
                    both.create_task(_copy(far_reader, writer))
            except* OSError:
                pass  # one side is gone, and both are closed


async def _authenticate(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, password: str) -> None:
    version, count = await reader.readexactly(2)
    methods = await reader.readexactly(count)
    if version != _VERSION or _WITH_PASSWORD not in methods:
        writer.write(bytes((_VERSION, _NO_METHOD)))
        raise ConnectionRefusedError
    writer.write(bytes((_VERSION, _WITH_PASSWORD)))
    (_, length) = await reader.readexactly(2)
    await reader.readexactly(length)
    given = await reader.readexactly((await reader.readexactly(1))[0])
    if not secrets.compare_digest(given, password.encode()):
        writer.write(bytes((_PASSWORD_VERSION, _FAILED)))
        raise ConnectionRefusedError
    writer.write(bytes((_PASSWORD_VERSION, _SUCCEEDED)))


async def _requested(reader: asyncio.StreamReader) -> tuple[str, int]:
    _, command, _, kind = await reader.readexactly(4)
    if kind == _NAME:
        name = await reader.readexactly((await reader.readexactly(1))[0])
        host = name.decode("ascii", "replace")
    elif kind in {_IPV4, _IPV6}:
        family, length = (socket.AF_INET, 4) if kind == _IPV4 else (socket.AF_INET6, 16)
        host = socket.inet_ntop(family, await reader.readexactly(length))
    else:
        raise _RefusedError(_UNKNOWN_ADDRESS)
    (port,) = struct.unpack("!H", await reader.readexactly(2))
    if command != _CONNECT:
        raise _RefusedError(_UNKNOWN_COMMAND)
    return host, port


async def _connected(host: str, port: int, resolver: CheckingResolver) -> socket.socket:
    """A connection to the first allowed address that accepts one. Raises AddressRefusedError, OSError."""
    error: OSError = ConnectionRefusedError()
    for family, kind, protocol, _, where in await resolver.addresses(host, port):
        connection = socket.socket(family, kind, protocol)
        connection.setblocking(False)
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await asyncio.get_running_loop().sock_connect(connection, where)
        except BaseException as failure:
            connection.close()
            if not isinstance(failure, OSError):
                raise
            error = failure
        else:
            return connection
    raise error


async def _reply(writer: asyncio.StreamWriter, code: int) -> None:
    # The address that follows is that of the proxy's own connection, which nobody needs.
    writer.write(bytes((_VERSION, code, 0, _IPV4)) + bytes(6))
    await writer.drain()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(_CHUNK_BYTES):
        writer.write(chunk)
        await writer.drain()
    with suppress(OSError):
        writer.write_eof()
