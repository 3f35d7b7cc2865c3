"""Creates the senders of logs and statuses, by kind of receiver; a part of the composition root."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import ClientSession

from shuttle.clock import Clock
from shuttle.delivery import StatusSender
from shuttle.delivery.failover import FailoverStatusSender
from shuttle.delivery.http import HttpStatusSender
from shuttle.delivery.kafka import KafkaStatusSender
from shuttle.delivery.signature import Signer
from shuttle.kafka.clusters import KafkaClusters
from shuttle.lease import Lease
from shuttle.outgoing.connector import AddressPolicy
from shuttle.outgoing.endpoints import EndpointKind
from shuttle.settings import Settings
from shuttle.sinks import Sink
from shuttle.sinks.failover import DECISION_SECONDS, FailoverUploadFactory
from shuttle.sinks.forward import LogForwarder, RetryPolicy, UploadFactory
from shuttle.sinks.host_recovery import HostRecovery
from shuttle.sinks.http import HttpUploadFactory
from shuttle.sinks.kafka import KafkaUploadFactory


@dataclass(frozen=True, slots=True)
class Senders:
    """What sends logs, and what sends statuses, by the kind of the receiver."""

    logs: Mapping[EndpointKind, Sink]
    statuses: Mapping[EndpointKind, StatusSender]


@asynccontextmanager
async def open_senders(
    log_session: ClientSession,
    status_session: ClientSession,
    policy: AddressPolicy,
    *,
    clock: Clock,
    lease: Lease,
    settings: Settings,
) -> AsyncIterator[Senders]:
    """The senders; what they share and keep open is closed at the end. `log_session` has no limit of connections."""
    kafka = KafkaClusters(policy, settings)
    try:
        statuses = _status_senders(status_session, kafka, lease, settings)
        yield Senders(_log_sinks(log_session, kafka, clock, settings), statuses)
    finally:
        await kafka.close()


def _log_sinks(
    session: ClientSession, kafka: KafkaClusters, clock: Clock, settings: Settings
) -> dict[EndpointKind, Sink]:
    # A member of a failover never resumes after the last sent byte, because the next member continues after the last
    # acknowledged one.
    members: dict[EndpointKind, UploadFactory] = {
        EndpointKind.HTTP: HttpUploadFactory(session),
        EndpointKind.KAFKA: KafkaUploadFactory(kafka, settings.shuttle_kafka_request_timeout_seconds),
    }
    factories = members | {
        EndpointKind.HTTP: HttpUploadFactory(session, resume=settings.shuttle_log_resume),
        EndpointKind.FAILOVER: FailoverUploadFactory(members),
    }
    retry_policy = RetryPolicy(give_up_seconds=settings.shuttle_sink_give_up_seconds)
    host_recovery = HostRecovery()
    return {kind: LogForwarder(factory, retry_policy, host_recovery, clock) for kind, factory in factories.items()}


def _status_senders(
    session: ClientSession, kafka: KafkaClusters, lease: Lease, settings: Settings
) -> dict[EndpointKind, StatusSender]:
    signer, seconds = Signer(settings.webhook_keys), settings.shuttle_webhook_timeout_seconds

    def within(seconds: float) -> dict[EndpointKind, StatusSender]:
        return {
            EndpointKind.HTTP: HttpStatusSender(session, signer, seconds),
            EndpointKind.KAFKA: KafkaStatusSender(kafka, signer, seconds),
        }

    members = within(min(seconds, DECISION_SECONDS))
    return within(seconds) | {EndpointKind.FAILOVER: FailoverStatusSender(members, lease)}
