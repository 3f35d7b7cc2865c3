"""The server that starts a process for each archive: it has imported the modules that the processes need, and forks.

A Python of its own for each archive took 27 ms of CPU; a fork takes 3.
"""

import gc
import os
import select
import signal
import socket
import sys
import traceback
from contextlib import suppress

import shuttle.unpack.zip  # noqa: F401 - for the processes that are forked
from shuttle.unpack.program import main

STARTED = b"+"


def serve() -> None:
    """Fork a process for each connection that comes through the socket at stdin, until its other end is closed.

    First STARTED is sent through the connection. The process reads its task, one line of JSON, from the connection,
    which is its stdin, stdout and stderr. When it has ended, a last line with its exit status is sent: negative is the
    signal that killed it.
    """
    control = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    woken, waking = socket.socketpair()
    woken.setblocking(False)
    waking.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)  # without a handler nothing is written to the socket
    signal.set_wakeup_fd(waking.fileno(), warn_on_full_buffer=False)
    connections: dict[int, socket.socket] = {}
    gc.freeze()
    while True:
        readable, _, _ = select.select([control, woken], [], [])
        if woken in readable:
            woken.recv(4096)
            _report_ended(connections)
        if control in readable:
            message, descriptors, _, _ = socket.recv_fds(control, 1, 1)
            if not message:
                return
            if not descriptors:  # no file can be opened now; the connection was closed instead
                continue
            connection = socket.socket(fileno=descriptors[0])
            try:
                connection.sendall(STARTED)
                pid = os.fork()
            except OSError:  # the service has closed its end, or no process can be started now
                connection.close()
                continue
            if pid == 0:
                _become_process_of(connection, [control, woken, waking, *connections.values()])
            connections[pid] = connection


def _become_process_of(connection: socket.socket, others: list[socket.socket]) -> None:
    """Run the program in this fork; does not return."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for descriptor in range(3):
            os.dup2(connection.fileno(), descriptor)
        for each in (connection, *others):  # a connection ends when no process has it any more
            each.close()
        status = main(sys.stdin.readline())
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001 - the fork must not continue with the parent's code
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _report_ended(connections: dict[int, socket.socket]) -> None:
    while connections:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with connections.pop(pid) as connection, suppress(OSError):  # the service may have closed its end
            connection.sendall(b"\n%d" % os.waitstatus_to_exitcode(status))
