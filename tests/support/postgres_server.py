"""The PostgreSQL server of the demo, or the programs in TESTS_POSTGRES_BIN, which tests can also pause and query."""

import os
import signal
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg

from shuttle.cli.demo import postgres
from shuttle.cli.demo.postgres import USER
from shuttle.store.postgres_migrate import bring_postgres_up_to_date
from tests.support.free_port import free_port

PASSWORD = "pass-of-the-database"
__all__ = ["PASSWORD", "USER", "PostgresServer", "running_postgres"]


class PostgresServer(postgres.PostgresServer):
    """A server in its own folder."""

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        given = os.environ.get("TESTS_POSTGRES_BIN")
        programs = Path(given) if given else postgres.packaged_programs()
        super().__init__(folder, free_port(), PASSWORD, programs, settings)
        self._migrated: str | None = None

    def pause(self) -> None:
        """Make the server hang: it accepts connections, but answers nothing on new or existing ones."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal_all(signal.SIGCONT)

    def pids(self) -> list[int]:
        """The server's process and those of its connections."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return [self._process.pid, *map(int, children)]

    def _signal_all(self, number: signal.Signals) -> None:
        for pid in self.pids():
            os.kill(pid, number)

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def new_database(self, template: str = "template1") -> str:
        """Create a database, as a copy of `template`, and return its name."""
        name = f"test_{uuid4().hex}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def new_url(self) -> str:
        """The URL of a new database."""
        return self.url(self.new_database())

    def new_migrated_url(self) -> str:
        """The URL of a new database with the tables of the service; the migrations run once for each server."""
        if self._migrated is None:
            migrated = self.new_database()
            bring_postgres_up_to_date(self.url(migrated))
            self._migrated = migrated
        return self.url(self.new_database(self._migrated))


class Standby(PostgresServer):
    """A standby of `primary`, which waits for it before each commit from `start` on; `promote` makes it the primary."""

    def __init__(self, folder: Path, primary: PostgresServer) -> None:
        self._primary = primary
        super().__init__(folder)

    def _create(self, secret: Path) -> None:
        url = f"{self._primary.url()}?application_name=standby"
        options = ("--write-recovery-conf", "--no-sync", "--checkpoint=fast")  # a spread checkpoint takes 90 s
        self._call("pg_basebackup", f"--dbname={url}", f"--pgdata={self._data}", *options)

    def start(self) -> None:
        super().start()
        self._primary.execute("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
        self._primary.execute("SELECT pg_reload_conf()")

    def promote(self) -> None:
        self.execute("SELECT pg_promote()")


@contextmanager
def running_postgres(settings: Mapping[str, str] | None = None) -> Iterator[PostgresServer]:
    """A running server. Its folder is not in pytest's, because the user nobody cannot enter root's folders there."""
    with tempfile.TemporaryDirectory(prefix="shuttle-tests-postgres-") as folder:
        server = PostgresServer(Path(folder), settings)
        server.start()
        try:
            yield server
        finally:
            server.stop()
