"""The checks of `shuttle doctor` on a PostgreSQL server, which a running service may use at the same time."""

from collections.abc import AsyncIterator, Sequence

import psycopg
from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

from shuttle.cli.findings import Finding, fine, problem, warning
from shuttle.cli.key_examination import examine_key
from shuttle.clock import Clock
from shuttle.errors import ShuttleError
from shuttle.outgoing.tls import tls_context
from shuttle.settings import Settings
from shuttle.store.notices_probe import notices_arrive
from shuttle.store.postgres import PostgresDatabase
from shuttle.store.postgres_facts import OLDEST_VERSION, PostgresFacts, read_facts
from shuttle.store.replicas import Replica, all_replicas
from shuttle.store.sealed import sealed_samples

# Receivers refuse signatures older than some minutes, and people compare the times of both clocks.
_CLOCK_SECONDS = 30
_PEER_SECONDS = 5.0


async def examine_postgres(settings: Settings) -> AsyncIterator[Finding]:
    """Check the server, its user's rights, durability, clock and notices, the key of its secrets, and the replicas."""
    migrate_url = settings.shuttle_database_migrate_url.get_secret_value()
    database = PostgresDatabase(settings.postgres_url, Clock())
    try:
        facts = await database.run(read_facts)
        sealed = await database.run(sealed_samples) if facts.revision is not None else []
        replicas = await database.run(all_replicas) if facts.revision is not None else []
    except ShuttleError as error:
        yield problem("database", error.message)
        return
    finally:
        await database.close()
    for finding in _findings(facts, migrates=not migrate_url):
        yield finding
    if migrate_url:
        yield await _migrations(migrate_url, facts)
    yield examine_key(settings, sealed)
    yield await _notices(settings)
    async for finding in _peers(replicas, settings):
        yield finding


async def _migrations(migrate_url: str, served: PostgresFacts) -> Finding:
    """Whether SHUTTLE_DATABASE_MIGRATE_URL leads to the database of DATABASE_URL, and its user may change it."""
    database = PostgresDatabase(migrate_url, Clock())
    try:
        facts = await database.run(read_facts)
    except ShuttleError as error:
        return problem("migrations", error.message.replace("DATABASE_URL", "SHUTTLE_DATABASE_MIGRATE_URL"))
    finally:
        await database.close()
    if facts.identity != served.identity:
        sentence = "SHUTTLE_DATABASE_MIGRATE_URL is another database or schema than DATABASE_URL; correct one of them."
        return problem("migrations", sentence)
    if not facts.may_create:
        sentence = "the user of SHUTTLE_DATABASE_MIGRATE_URL may not create tables; grant CREATE on its schema."
        return problem("migrations", sentence)
    return fine("migrations", "SHUTTLE_DATABASE_MIGRATE_URL can be used.")


async def _notices(settings: Settings) -> Finding:
    try:
        arrive = await notices_arrive(settings.postgres_url, settings.shuttle_database_listen_url.get_secret_value())
    except psycopg.Error:
        return problem("notices", "cannot be tried: the server of SHUTTLE_DATABASE_LISTEN_URL refuses a connection.")
    if arrive:
        return fine("notices", "arrive (LISTEN and NOTIFY).")
    sentence = (
        "do not arrive, so replicas learn of changes seconds later; set SHUTTLE_DATABASE_LISTEN_URL to the server"
    )
    return warning("notices", f"{sentence} itself, or to a pooler that pools sessions.")


async def _peers(replicas: Sequence[Replica], settings: Settings) -> AsyncIterator[Finding]:
    """Whether the replicas in the database are reached from here, as they must reach each other."""
    timeout = ClientTimeout(total=_PEER_SECONDS)
    ssl_context = tls_context(settings.shuttle_ca_file) or True
    async with ClientSession(connector=TCPConnector(ssl=ssl_context), timeout=timeout) as session:
        for replica in replicas:
            try:
                async with session.get(f"{replica.url}/healthz") as answer:
                    reached = answer.status == 200
            except (ClientError, TimeoutError):
                reached = False
            if reached:
                yield fine("replica", f"{replica.name} can be reached at {replica.url}.")
            else:
                sentence = (
                    f"{replica.name} cannot be reached at {replica.url}: it has died, or the replicas cannot reach"
                )
                yield warning("replica", f"{sentence} each other there; set its SHUTTLE_REPLICA_URL.")


def _findings(facts: PostgresFacts, *, migrates: bool) -> list[Finding]:
    """The findings on the server; `migrates`: the user of DATABASE_URL also migrates the database."""
    findings = []
    if facts.version < OLDEST_VERSION:
        findings.append(problem("database", f"PostgreSQL {facts.version} is too old; use {OLDEST_VERSION} or newer."))
    if migrates and not facts.may_create:
        findings.append(problem("database", "its user may not create tables; grant CREATE on its schema."))
    if not facts.writes_durably:
        sentence = "PostgreSQL may lose what it has confirmed; set fsync and synchronous_commit to on."
        findings.append(problem("database", sentence))
    if facts.unsafe_standbys:
        sentence = "a failover may lose builds that were answered 200: its standby is not synchronous; set"
        findings.append(warning("database", f"{sentence} synchronous_standby_names, and synchronous_commit to on."))
    off_seconds = abs((Clock().now() - facts.clock_at).total_seconds())
    if off_seconds > _CLOCK_SECONDS:
        findings.append(
            warning("database", f"its clock and that of this machine differ by {off_seconds:.0f} s; synchronize both.")
        )
    if not findings:
        schema = f"its schema is {facts.revision}" if facts.revision else "it is still empty"
        findings.append(fine("database", f"PostgreSQL {facts.version} can be used; {schema}."))
    return findings
