"""A listener with TLS: its connections count for the limits from their acceptance on, and handshakes take limited time.

asyncio's own server would count a connection, and limit its time, only once the handshake is over.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable

from shuttle.web.callers import Callers, peer_name
from shuttle.web.connection import Connection

# Without a free file descriptor the listening socket stays readable: asyncio's own server pauses for so long, too.
_NO_FILES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_PAUSE_SECONDS = 1.0


class TlsListener:
    """Accepts connections from `start` to `close`. `connections` makes the HTTP side of each."""

    def __init__(
        self,
        listening: socket.socket,
        connections: Callable[[], Connection],
        tls: ssl.SSLContext,
        callers: Callers,
        *,
        handshake_seconds: float,
    ) -> None:
        listening.setblocking(False)
        self._listening = listening
        self._connections = connections
        self._tls = tls
        self._callers = callers
        self._handshake_seconds = handshake_seconds
        self._accepting: asyncio.Task[None] | None = None
        self._handshakes: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Accept connections until `close`."""
        self._accepting = asyncio.create_task(self._accept(), name="accept TLS")

    async def stop_accepting(self) -> None:
        """Accept no further connections; handshakes continue."""
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)

    async def close(self) -> None:
        """Close the socket, and end the handshakes that are under way; established connections stay."""
        await self.stop_accepting()
        for task in self._handshakes:
            task.cancel()
        await asyncio.gather(*self._handshakes, return_exceptions=True)
        self._listening.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, address = await loop.sock_accept(self._listening)
            except OSError as error:
                if error.errno in _NO_FILES:
                    await asyncio.sleep(_PAUSE_SECONDS)
                continue  # else the client has given up already
            peer = peer_name(address)
            if not self._callers.enter(peer):
                accepted.close()  # no answer is possible before the handshake
                continue
            task = asyncio.create_task(self._shake_hands(accepted, peer))
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    async def _shake_hands(self, accepted: socket.socket, peer: str) -> None:
        connection = self._connections()
        connection.count_for(peer)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection, accepted, ssl=self._tls, ssl_handshake_timeout=self._handshake_seconds
            )
        except OSError:  # its subclasses: a TLS error, a connection that ended, a handshake that took too long
            connection.uncount()
        except BaseException:
            connection.uncount()
            accepted.close()
            raise
