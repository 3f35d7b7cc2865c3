"""The composition root: creates the concrete adapters, and starts and stops them in order."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import structlog
from aiohttp import ClientSession, TCPConnector

from shuttle import __version__
from shuttle.clock import Clock
from shuttle.delivery.dispatch import Dispatcher
from shuttle.fetchers import source_fetchers
from shuttle.jenkins.budget import PollBudget
from shuttle.jenkins.client import JenkinsClient
from shuttle.jenkins.controllers import Controllers
from shuttle.lease import Lease
from shuttle.lifecycle import Services
from shuttle.lifecycle.abandoned import AbandonedRecords
from shuttle.lifecycle.agent_calls import AgentCalls
from shuttle.lifecycle.build_logs import BuildLogs
from shuttle.lifecycle.delete import AppCleanup
from shuttle.lifecycle.keep_running import keep_running
from shuttle.lifecycle.log_pieces import LogPieces
from shuttle.lifecycle.membership import Membership
from shuttle.lifecycle.owned_apps import OwnedApps
from shuttle.lifecycle.patient_start import PatientStart
from shuttle.lifecycle.peers import Peers
from shuttle.lifecycle.reachability_probe import ReachabilityProbe
from shuttle.lifecycle.retain import Retention
from shuttle.lifecycle.signals import Signals
from shuttle.lifecycle.steady_time import record_steady_time, resume_steady_time
from shuttle.lifecycle.unanswered import look_for_unanswered
from shuttle.logs.library import LogLibrary
from shuttle.memory import trim_memory
from shuttle.metrics import observe_jenkins_request
from shuttle.objects import ObjectStore
from shuttle.objects.directory import DirectoryStore
from shuttle.objects.local import make_private
from shuttle.outgoing.connector import address_policy, outgoing_session
from shuttle.outgoing.tls import tls_context
from shuttle.peer_signature import PeerSignature
from shuttle.senders import open_senders
from shuttle.settings import Settings
from shuttle.store import Database, Topic
from shuttle.store.intake import Intake
from shuttle.store.moves import refuse_while_filled
from shuttle.store.replicas import Replica
from shuttle.store.sealed import sealed_samples
from shuttle.store.sqlite import SqliteDatabase
from shuttle.store.stored_outbox import StoredOutbox
from shuttle.store.stored_sinks import StoredSinks
from shuttle.vault import Vault, open_vault
from shuttle.worker import Worker

log = structlog.get_logger()

_OUTGOING_CONNECTIONS = 4_096
# For this time after the start, the rate of polls is doubled, because every running build has to be found again.
_DOUBLE_RATE_SECONDS = 5.0
# The part of SHUTTLE_LEASE_SECONDS in which this process sends nothing any more, and others do not take its apps yet.
_LEASE_MARGIN = 0.2
# How many archives are checked at the same time: one for each CPU, from two to four. A hostile archive can take 1 GiB
# of memory while it is checked, so the number does not grow further.
_CHECKED_ARCHIVES = min(max(2, os.cpu_count() or 2), 4)


class Parts(NamedTuple):
    """The parts of the process that the web server uses.

    `stop_work` ends the worker and the background tasks, and releases the apps. Requests can still be answered: the
    database and the object store stay open.
    """

    services: Services
    worker: Worker
    membership: Membership
    stop_work: Callable[[], Awaitable[None]]


@asynccontextmanager
async def shuttle_parts(
    settings: Settings, public_url: str, replica_url: str = "", on_wait: Callable[[str], None] = lambda _: None
) -> AsyncIterator[Parts]:
    """Start everything except the web server; stops it in reverse order, within SHUTTLE_SHUTDOWN_SECONDS.

    Agents and callers reach the service at `public_url`, other replicas reach this process at `replica_url`. While the
    start waits for the database, `on_wait` is called with a sentence that says so, before each retry.
    """
    async with AsyncExitStack() as stack:
        await asyncio.to_thread(_prepare_data_dir, settings.shuttle_data_dir)
        clock = Clock()
        database = open_database(settings, clock)
        stack.push_async_callback(database.close)
        start = PatientStart(bool(settings.postgres_url), on_wait)
        vault = await _migrated(database, settings, start)
        await start.step(partial(resume_steady_time, clock, database))
        owned, lease = OwnedApps(), _lease(settings)
        controllers = _controllers(settings, lease)
        stack.push_async_callback(controllers.close)
        objects = object_store(settings, cas_file=settings.shuttle_data_dir / "cas-of-s3.pem")
        stack.push_async_callback(objects.close)
        probe = ReachabilityProbe(controllers, objects, interval_seconds=settings.shuttle_release_seconds / 2)
        calls = AgentCalls(settings.shuttle_agent_calls_per_second)
        peer_session = ClientSession(connector=TCPConnector(limit=0, ssl=tls_context(settings.shuttle_ca_file) or True))
        await stack.enter_async_context(peer_session)
        peers = Peers(database, PeerSignature(vault.derived_keys("peers"), clock.steady), peer_session)
        membership = Membership(
            database,
            Replica(database.instance, settings.replica_name, replica_url or public_url, __version__, 0, clock.now()),
            owned,
            lease,
            heartbeat_seconds=settings.shuttle_heartbeat_seconds,
            lease_seconds=settings.shuttle_lease_seconds,
            release_seconds=settings.shuttle_release_seconds,
            on_look=partial(_note_replicas, controllers, calls, peers, settings),
            reachability=probe.result,
        )
        sinks = StoredSinks(database, vault)
        policy = address_policy(settings)
        outgoing = outgoing_session(policy, ca_file=settings.shuttle_ca_file, limit=_OUTGOING_CONNECTIONS)
        await stack.enter_async_context(outgoing)
        # Without a limit: each log sink needs a connection for as long as its build runs.
        log_session = outgoing_session(policy, ca_file=settings.shuttle_ca_file, limit=0)
        await stack.enter_async_context(log_session)
        library = LogLibrary(
            settings.shuttle_data_dir / "spool", objects, memory_bytes=settings.shuttle_log_memory_bytes
        )
        signals = Signals()
        signals.subscribe_to(database)
        # With SQLite no pieces are stored: the spools are on the database's disk, and are lost only together with it.
        pieces = LogPieces(database, objects, library, owned, enabled=bool(settings.postgres_url))
        logs = BuildLogs(database, vault, library, pieces, signals, owned=owned)
        services = Services(
            settings=settings,
            database=database,
            intake=Intake(database, clock),
            sinks=sinks,
            vault=vault,
            objects=objects,
            fetchers=await stack.enter_async_context(source_fetchers(outgoing, policy, settings)),
            controllers=controllers,
            reachabilities=membership.reachabilities,
            library=library,
            pieces=pieces,
            logs=logs,
            calls=calls,
            signals=signals,
            owned=owned,
            lease=lease,
            peers=peers,
            public_url=public_url,
            clock=clock,
            normalizing=asyncio.Semaphore(_CHECKED_ARCHIVES),
        )
        open_all = open_senders(log_session, outgoing, policy, clock=clock, lease=lease, settings=settings)
        senders = await stack.enter_async_context(open_all)
        worker = Worker(services, senders.logs)
        dispatcher = Dispatcher(StoredOutbox(database, vault), senders.statuses, settings, clock, lease)
        database.subscribe(Topic.DELIVERIES, dispatcher.wake)
        owned.subscribe(dispatcher.drop)

        work = AsyncExitStack()
        stack.push_async_callback(work.aclose)
        work.push_async_callback(membership.leave)
        work.push_async_callback(sinks.close)
        await start.step(membership.join)

        look_for_work = partial(_look_for_work, worker, signals, dispatcher)
        loops: dict[str, Callable[[], Awaitable[None]]] = {
            "delivery": dispatcher.run,
            "retention": Retention(services).run,
            "abandoned records": AbandonedRecords(services).run,
            "apps": AppCleanup(services).run,
            "unanswered requests": partial(look_for_unanswered, signals, look_for_work),
            "notices": database.listen,
            "membership": partial(membership.run, look_for_work, worker.drop),
            "steady time": partial(record_steady_time, services),
            "memory": trim_memory,
        }
        if settings.postgres_url or len(controllers) > 1:
            loops["reachability"] = probe.run
        _start_loops(work, worker, loops, settings)
        await start.step(worker.start)
        yield Parts(services, worker, membership, work.aclose)


def _lease(settings: Settings) -> Lease:
    """The lease of this process; on SQLite no other replica can take its apps."""
    return Lease(settings.shuttle_lease_seconds * (1 - _LEASE_MARGIN) if settings.postgres_url else None)


def _start_loops(
    stack: AsyncExitStack, worker: Worker, loops: Mapping[str, Callable[[], Awaitable[None]]], settings: Settings
) -> None:
    grace_seconds = settings.shuttle_shutdown_seconds / 2
    for name, loop in loops.items():
        task = asyncio.create_task(keep_running(name, loop), name=name)
        stack.push_async_callback(_end, task, grace_seconds)
    stack.push_async_callback(worker.close, grace_seconds)


async def _look_for_work(worker: Worker, signals: Signals, dispatcher: Dispatcher) -> None:
    """Look for builds, deleted apps and deliveries that no notice announced: after a takeover, or a lost notice."""
    await worker.look()
    signals.deleted.set()
    dispatcher.wake()


def _controllers(settings: Settings, lease: Lease) -> Controllers:
    """The clients of the controllers, each with its budget of polls."""
    budgets = {
        name: PollBudget(settings.shuttle_jenkins_polls_per_second, double_rate_seconds=_DOUBLE_RATE_SECONDS)
        for name in settings.controllers
    }
    clients = {
        name: JenkinsClient(
            url,
            budget=budgets[name],
            folder=settings.shuttle_jenkins_folder,
            ssl_context=tls_context(settings.shuttle_ca_file),
            observe=observe_jenkins_request,
            before_command=lease.held,
        )
        for name, url in settings.controllers.items()
    }
    return Controllers(clients, budgets)


def _note_replicas(
    controllers: Controllers, calls: AgentCalls, peers: Peers, settings: Settings, replicas: Sequence[Replica]
) -> None:
    """Use this replica's part of what the whole service may use, and end the requests to replicas that have died."""
    controllers.polls_per_second = settings.shuttle_jenkins_polls_per_second / len(replicas)
    calls.calls_per_second = settings.shuttle_agent_calls_per_second / len(replicas)
    peers.end_calls_except({replica.instance for replica in replicas})


async def _end(task: asyncio.Task[None], grace_seconds: float) -> None:
    task.cancel()
    await asyncio.wait([task], timeout=grace_seconds)


def _prepare_data_dir(folder: Path) -> None:
    try:
        make_private(folder)
    except PermissionError as error:
        # The directory belongs to another user, for example a volume shared by a group. The service works there; who
        # is in that group is the operator's decision.
        log.warning("other users may read SHUTTLE_DATA_DIR", error=str(error))


def open_database(settings: Settings, clock: Clock) -> Database:
    """The database that the settings name, without a connection to it yet."""
    if settings.postgres_url:
        from shuttle.store.postgres import PostgresDatabase  # noqa: PLC0415 - 60 ms and 15 MB that SQLite does not need

        return PostgresDatabase(
            settings.postgres_url,
            clock,
            listen_url=settings.shuttle_database_listen_url.get_secret_value(),
            migrate_url=settings.shuttle_database_migrate_url.get_secret_value(),
        )
    return SqliteDatabase(settings.database_path, clock)


async def _migrated(database: Database, settings: Settings, start: PatientStart) -> Vault:
    """Migrate the database; returns the vault whose keys fit it."""
    await start.step(database.migrate)
    await start.step(partial(database.run, refuse_while_filled))
    sealed = await start.step(partial(database.run, sealed_samples))
    keys = [key.get_secret_value() for key in settings.shuttle_encryption_keys]
    return open_vault(keys, settings.shuttle_data_dir, sealed)


def object_store(settings: Settings, *, cas_file: Path | None = None) -> ObjectStore:
    """The object store: S3 if S3_BUCKET is set, else a directory. For `cas_file` see S3Store."""
    if settings.s3_bucket:
        from shuttle.objects.s3 import S3Store  # noqa: PLC0415 - 0.3 s and 30 MB that a directory does not need

        return S3Store(
            bucket=settings.s3_bucket,
            access_key=settings.s3_access_key,
            secret_key=settings.s3_secret_key.get_secret_value(),
            location=settings.s3_location,
            ca_file=settings.shuttle_ca_file,
            cas_file=cas_file,
        )
    return DirectoryStore(settings.shuttle_data_dir / "objects")
