"""What `shuttle doctor` examines of a PostgreSQL server; the service may be running beside it."""

from collections.abc import AsyncIterator

from shuttle.cli.findings import Finding, fine, problem, warning
from shuttle.clock import Clock
from shuttle.errors import SettingsError, ShuttleError
from shuttle.settings import Settings
from shuttle.store.postgres import PostgresDatabase
from shuttle.store.postgres_facts import OLDEST_VERSION, PostgresFacts, read_facts
from shuttle.store.sealed import sealed_samples
from shuttle.vault import open_vault

# Receivers refuse a signature that is older than some minutes; people compare times of both.
_CLOCK_SECONDS = 30


async def examine_postgres(settings: Settings) -> AsyncIterator[Finding]:
    """The server, the rights of its user, its durability, its clock, and the key of what is sealed there."""
    database = PostgresDatabase(settings.postgres_url, Clock(), sole_owner=False)
    try:
        facts = await database.run(read_facts)
        sealed = await database.run(sealed_samples) if facts.revision is not None else []
    except ShuttleError as error:
        yield problem("database", error.message)
        return
    finally:
        await database.close()
    for finding in _judge(facts):
        yield finding
    keys = [key.get_secret_value() for key in settings.shuttle_encryption_keys]
    try:
        open_vault(keys, settings.shuttle_data_dir, sealed, make=False)
    except SettingsError as error:
        yield problem("key", error.message)
    else:
        yield fine("key", "opens what is sealed in the database." if sealed else "nothing is sealed there yet.")


def _judge(facts: PostgresFacts) -> list[Finding]:
    findings = []
    if facts.version < OLDEST_VERSION:
        findings.append(problem("database", f"PostgreSQL {facts.version} is too old; use {OLDEST_VERSION} or newer."))
    if not facts.may_create:
        findings.append(problem("database", "its user may not create tables; grant CREATE on its schema."))
    if not facts.writes_durably:
        sentence = "PostgreSQL may lose what it has confirmed; set fsync and synchronous_commit to on."
        findings.append(problem("database", sentence))
    off_seconds = abs((Clock().now() - facts.clock_at).total_seconds())
    if off_seconds > _CLOCK_SECONDS:
        findings.append(warning("database", f"its clock and ours differ by {off_seconds:.0f} s; synchronize both."))
    if not findings:
        schema = f"its schema is {facts.revision}" if facts.revision else "it is empty yet"
        findings.append(fine("database", f"PostgreSQL {facts.version} can be used; {schema}."))
    return findings
