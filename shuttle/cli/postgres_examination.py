"""The checks of `shuttle doctor` on a PostgreSQL server, which a running service may use at the same time."""

from collections.abc import AsyncIterator

from shuttle.cli.findings import Finding, fine, problem, warning
from shuttle.cli.key_examination import examine_key
from shuttle.clock import Clock
from shuttle.errors import ShuttleError
from shuttle.settings import Settings
from shuttle.store.postgres import PostgresDatabase
from shuttle.store.postgres_facts import OLDEST_VERSION, PostgresFacts, read_facts
from shuttle.store.sealed import sealed_samples

# Receivers refuse signatures older than some minutes, and people compare the times of both clocks.
_CLOCK_SECONDS = 30


async def examine_postgres(settings: Settings) -> AsyncIterator[Finding]:
    """Check the server, its user's rights, its durability and clock, and the key of its encrypted secrets."""
    database = PostgresDatabase(settings.postgres_url, Clock())
    try:
        facts = await database.run(read_facts)
        sealed = await database.run(sealed_samples) if facts.revision is not None else []
    except ShuttleError as error:
        yield problem("database", error.message)
        return
    finally:
        await database.close()
    for finding in _findings(facts):
        yield finding
    yield examine_key(settings, sealed)


def _findings(facts: PostgresFacts) -> list[Finding]:
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
        findings.append(
            warning("database", f"its clock and that of this machine differ by {off_seconds:.0f} s; synchronize both.")
        )
    if not findings:
        schema = f"its schema is {facts.revision}" if facts.revision else "it is still empty"
        findings.append(fine("database", f"PostgreSQL {facts.version} can be used; {schema}."))
    return findings
