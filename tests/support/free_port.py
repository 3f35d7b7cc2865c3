"""Finds a free port."""

import socket


def free_port() -> int:
    """A free port of loopback, outside the range from which the kernel takes ports for outgoing connections."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
