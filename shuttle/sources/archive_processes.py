"""Starts the processes that read archives: a server forks one for each."""

import atexit
import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import shuttle

# The server imports only the standard library and `shuttle.unpack`, so it starts quickly. With -I and -S, Python
# ignores its environment variables, the current directory and site-packages.
_PROGRAM = """
import sys
sys.path.append(sys.argv.pop(1))
from shuttle.unpack.fork_server import serve
serve()
"""
_PACKAGES = str(Path(shuttle.__file__).parent.parent)
# The only environment variables that the processes get; the service's settings hold secrets.
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH")


class ArchiveProcesses:
    """Starts a process for each archive.

    The server is started for the first archive, and again if it has ended. It ends with this program.
    """

    def __init__(self) -> None:
        """Nothing is started yet."""
        self._server: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def start(self) -> socket.socket:
        """Start a process and return the connection to it: its task is sent there, and its output comes from there.

        `unpack.fork_server` describes what is sent. When the returned socket is closed, the process ends.

        Raises:
            OSError: no process can be started now.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._send(theirs)
            except BaseException:
                ours.close()
                raise
        return ours

    def _send(self, connection: socket.socket) -> None:
        if self._control is not None:
            with suppress(ConnectionError):  # the server has ended
                socket.send_fds(self._control, [b"c"], [connection.fileno()])
                return
        socket.send_fds(self._new_server(), [b"c"], [connection.fileno()])

    def _new_server(self) -> socket.socket:
        if self._server is None:
            atexit.register(self.end_server)
        self.end_server()
        self._control, theirs = socket.socketpair()
        self._control.setblocking(False)  # a server that does not read must not stop the service
        with theirs:
            self._server = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _PROGRAM, _PACKAGES],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
                start_new_session=True,  # so that Ctrl-C reaches the service only
            )
        return self._control

    def end_server(self) -> None:
        """Kill the server, for example because it does not react; the next archive gets a new one."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._server is not None:
            self._server.kill()
            self._server.wait()
