"""A port that nobody listens on."""

import socket


def free_port() -> int:
    """A port of loopback, below the ephemeral range's use by the kernel for connections of the same instant."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
