"""The environment of a shuttle on PostgreSQL: the server, an object store, and a key."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from botocore.exceptions import ClientError
from cryptography.fernet import Fernet

from tests.support.postgres_server import PostgresServer, running_postgres
from tests.support.s3_server import bucket_of, s3_server, settings_for

_TELL = (
    "CREATE OR REPLACE FUNCTION tell_test() RETURNS trigger LANGUAGE plpgsql"
    " AS $$ BEGIN PERFORM pg_notify('tell_test', ''); RETURN NULL; END $$"
)


@dataclass
class OnPostgres:
    """`settings` are the settings for the shuttle."""

    server: PostgresServer
    settings: dict[str, str]
    client: Any

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """The rows of a query of the shuttle's database."""
        with psycopg.connect(self.settings["DATABASE_URL"], autocommit=True) as connection:
            return connection.execute(statement).fetchall()

    async def until(self, table: str, condition: Callable[[], bool], seconds: float = 30) -> None:
        """Wait until the condition holds; it is evaluated in a thread, after every change of the table."""
        async with (
            asyncio.timeout(seconds),
            await psycopg.AsyncConnection.connect(self.settings["DATABASE_URL"], autocommit=True) as connection,
        ):
            await connection.execute(_TELL)
            await connection.execute(
                f"CREATE OR REPLACE TRIGGER tell_test AFTER INSERT OR UPDATE OR DELETE ON {table}"
                " FOR EACH STATEMENT EXECUTE FUNCTION tell_test()"
            )
            await connection.execute("LISTEN tell_test")
            while not await asyncio.to_thread(condition):
                async for _ in connection.notifies(stop_after=1):
                    pass

    def object_of(self, name: str) -> bytes | None:
        """The content of an object in the bucket."""
        try:
            content: bytes = self.client.get_object(Bucket=self.settings["S3_BUCKET"], Key=name)["Body"].read()
        except ClientError:
            return None
        return content


@contextmanager
def on_postgres(server_settings: Mapping[str, str] | None = None) -> Iterator[OnPostgres]:
    """A new database, bucket and key."""
    with running_postgres(server_settings) as server, s3_server() as endpoint, bucket_of(endpoint) as (bucket, client):
        settings = {
            "DATABASE_URL": server.new_url(),
            "SHUTTLE_ENCRYPTION_KEYS": Fernet.generate_key().decode(),
            **settings_for(endpoint, bucket),
        }
        yield OnPostgres(server, settings, client)
