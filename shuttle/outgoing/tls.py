"""TLS of outgoing connections: trusts the system's CAs and those in SHUTTLE_CA_FILE."""

import ssl
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import IO

from shuttle.errors import SettingsError


@lru_cache(maxsize=4)
def tls_context(ca_file: Path | None, *, http: bool = True) -> ssl.SSLContext:
    """The context for all clients of the service; cached, because reading the system's CAs takes 20 ms.

    Raises:
        SettingsError: SHUTTLE_CA_FILE cannot be read, or contains no certificate in PEM form.
    """
    context = ssl.create_default_context()
    if http:
        context.set_alpn_protocols(["http/1.1"])
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except OSError as error:  # includes ssl.SSLError
            raise SettingsError(
                f"SHUTTLE_CA_FILE: give a readable file with certificates in PEM form ({error.strerror or error})."
            ) from error
    return context


class TrustedBundle:
    """A file with the CAs of `default` and of SHUTTLE_CA_FILE, for a client that reads CAs from a file."""

    def __init__(self, ca_file: Path, default: Path, file: Path | None = None) -> None:
        """Write `file`; None = a temporary one, for a program that ends soon.

        Machines remove temporary files that are ten days old, and the client reads the file for each connection.
        Raises SettingsError as `tls_context` does.
        """
        tls_context(ca_file)
        cas = default.read_bytes() + b"\n" + ca_file.read_bytes()
        self._temporary: IO[bytes] | None = None
        if file is not None:
            part = file.with_name(f"{file.name}.part")
            part.write_bytes(cas)
            part.replace(file)
            self.path = str(file)
            return
        self._temporary = tempfile.NamedTemporaryFile(prefix="shuttle-ca-", suffix=".pem")  # noqa: SIM115 - until close
        self._temporary.write(cas)
        self._temporary.flush()
        self.path = self._temporary.name

    def close(self) -> None:
        """Remove the file if it is a temporary one; another is replaced at the next start. Idempotent."""
        if self._temporary is not None:
            self._temporary.close()
