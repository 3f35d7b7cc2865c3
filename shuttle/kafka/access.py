"""Access to a cluster: TLS, credentials, and descriptions of connection errors."""

import os
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    LeaderNotAvailableError,
    NotLeaderForPartitionError,
    RequestTimedOutError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    UnsupportedSaslMechanismError,
)

from shuttle.errors import ShuttleError
from shuttle.outgoing.kafka_url import KafkaAddress
from shuttle.outgoing.tls import tls_context
from shuttle.outgoing.userinfo import Credentials
from shuttle.settings import Settings


@dataclass(frozen=True, slots=True)
class Access:
    """TLS and credentials for a cluster; users with equal access share a producer."""

    tls: bool
    ca_file: Path | None = None
    credentials: Credentials | None = field(default=None, repr=False)
    mechanism: str = "PLAIN"

    def options(self) -> dict[str, Any]:
        """Keyword arguments of aiokafka's clients."""
        protocol = "SSL" if self.tls else "PLAINTEXT"
        options: dict[str, Any] = {"ssl_context": tls_context(self.ca_file, http=False) if self.tls else None}
        if self.credentials is None:
            return options | {"security_protocol": protocol}
        return options | {
            "security_protocol": f"SASL_{protocol}",
            "sasl_mechanism": self.mechanism,
            "sasl_plain_username": self.credentials.user,
            "sasl_plain_password": self.credentials.password,
        }


def access_to(address: KafkaAddress, settings: Settings) -> Access:
    """The access with the caller's credentials; else with the operator's, if SHUTTLE_KAFKA_CREDENTIALS has the same
    entry for all hosts."""
    return Access(
        tls=address.tls,
        ca_file=settings.shuttle_kafka_ca_file or settings.shuttle_ca_file,
        credentials=address.credentials or _operators_credentials(address, settings),
        mechanism=settings.shuttle_kafka_sasl_mechanism,
    )


def _operators_credentials(address: KafkaAddress, settings: Settings) -> Credentials | None:
    known = {host.lower(): entry for host, entry in settings.shuttle_kafka_credentials.items()}
    hosts = [(f"[{host}]".lower() if ":" in host else host.lower(), port) for host, port in address.hosts]
    entries = {known.get(f"{host}:{port}", known.get(host)) for host, port in hosts}
    entry = entries.pop()
    if entries or entry is None:
        return None
    user, password = entry
    return Credentials(user, password.get_secret_value())


class UnexpectedAnswerError(KafkaError):  # type: ignore[misc] # aiokafka has no types
    """A broker sent something that aiokafka does not expect or that we refuse.

    `reason` is the end of a sentence; `describe_fault` replaces `{wanted}` in it.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


# X509_V_ERR_HOSTNAME_MISMATCH and …_IP_ADDRESS_MISMATCH of OpenSSL: the authority is trusted.
_HOST_MISMATCH = frozenset((62, 64))
# The first match counts. The brokers' own texts are not shown: they may quote the credentials that were sent.
_REASONS: Sequence[tuple[type[BaseException] | tuple[type[BaseException], ...], str]] = (
    (SaslAuthenticationFailed, "refused the user or the password (SASL {mechanism})"),
    (
        UnsupportedSaslMechanismError,
        "does not support SASL {mechanism}; SHUTTLE_KAFKA_SASL_MECHANISM can name another mechanism",
    ),
    (
        ssl.SSLCertVerificationError,
        "has a certificate that is not trusted; SHUTTLE_KAFKA_CA_FILE names further authorities",
    ),
    (ssl.SSLError, "failed the TLS handshake; write kafka:// if it does not use TLS"),
    (IllegalSaslStateError, "does not accept a user and password"),
    (TopicAuthorizationFailedError, "denies writing to the topic"),
    # Raised by the start of an idempotent producer if the user may not write to any topic.
    (ClusterAuthorizationFailedError, "denies writing; the user needs WRITE on the topic"),
    (UnknownTopicOrPartitionError, "has no such topic and does not create topics"),
    (
        (NotLeaderForPartitionError, LeaderNotAvailableError),
        "currently has no leader for the topic; the topic may have been deleted",
    ),
    ((TimeoutError, RequestTimedOutError), "does not answer"),
    (socket.gaierror, "has a host name that cannot be resolved"),
    ((KafkaConnectionError, EOFError, ConnectionResetError), "closed the connection; it may want {wanted}"),
)


def describe_fault(error: BaseException, access: Access) -> str:
    """The end of a sentence that begins with the cluster's hosts; without secrets.

    aiokafka itself raises only "Unable to bootstrap" and logs the causes; `probe_bootstrap` raises the causes.
    """
    if isinstance(error, ssl.SSLCertVerificationError) and error.verify_code in _HOST_MISMATCH:
        return "has a certificate for other host names"
    if isinstance(error, KafkaConnectionError) and isinstance(error.__cause__, UnexpectedAnswerError):
        error = error.__cause__  # the first one says only that the connection was closed
    if isinstance(error, UnexpectedAnswerError):
        return error.reason.format(wanted=_alternatives(access))
    for kinds, reason in _REASONS:
        if isinstance(error, kinds):
            return reason.format(mechanism=access.mechanism, wanted=_alternatives(access))
    if isinstance(error, OSError):
        # Described by its number, because asyncio's own text repeats the address.
        return f"cannot be reached ({os.strerror(error.errno) if error.errno else type(error).__name__})"
    if isinstance(error, KafkaError | ShuttleError):
        return f"failed ({type(error).__name__})"
    return not_understood(error).reason


def not_understood(error: BaseException) -> UnexpectedAnswerError:
    """What is raised instead of an error that aiokafka does not raise on purpose: it could not read an answer."""
    return UnexpectedAnswerError(f"sent an answer that the shuttle does not understand ({type(error).__name__})")


def _alternatives(access: Access) -> str:
    scheme = "kafka:// without TLS" if access.tls else "kafka+ssl://"
    return scheme if access.credentials else f"{scheme}, or a user and a password"
