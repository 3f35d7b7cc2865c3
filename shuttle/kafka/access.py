"""How we enter a cluster: TLS, credentials, and why it did not let us in."""

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
    LeaderNotAvailableError,
    NotLeaderForPartitionError,
    RequestTimedOutError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    UnsupportedSaslMechanismError,
)

from shuttle.outgoing.kafka_url import KafkaAddress
from shuttle.outgoing.tls import tls_context
from shuttle.outgoing.userinfo import Credentials
from shuttle.settings import Settings


@dataclass(frozen=True, slots=True)
class Access:
    """What aiokafka is told about a cluster beside its hosts; equal for all who may share a connection."""

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
    """The caller's credentials, or the operator's, which only clusters that the operator named are shown."""
    return Access(
        tls=address.tls,
        ca_file=settings.shuttle_kafka_ca_file or settings.shuttle_ca_file,
        credentials=address.credentials or _operators_credentials(address, settings),
        mechanism=settings.shuttle_kafka_sasl_mechanism,
    )


def _operators_credentials(address: KafkaAddress, settings: Settings) -> Credentials | None:
    known = settings.shuttle_kafka_credentials
    entries = {known.get(f"{host}:{port}", known.get(host)) for host, port in address.hosts}
    entry = entries.pop()
    if entries or entry is None:
        return None
    user, password = entry
    return Credentials(user, password.get_secret_value())


# X509_V_ERR_HOSTNAME_MISMATCH and …_IP_ADDRESS_MISMATCH of OpenSSL: the authority is trusted.
_ANOTHER_HOST = frozenset((62, 64))
# The first that fits. What brokers say is not passed on: it may quote what we sent them.
_REASONS: Sequence[tuple[type[BaseException] | tuple[type[BaseException], ...], str]] = (
    (SaslAuthenticationFailed, "refused the user or the password (SASL {mechanism})"),
    (
        UnsupportedSaslMechanismError,
        "does not take SASL {mechanism}; SHUTTLE_KAFKA_SASL_MECHANISM can name another mechanism",
    ),
    (
        ssl.SSLCertVerificationError,
        "has a certificate that is not trusted; SHUTTLE_KAFKA_CA_FILE names further authorities",
    ),
    (ssl.SSLError, "does not speak TLS as we do; write kafka:// if it speaks none"),
    (IllegalSaslStateError, "takes no user and password"),
    (TopicAuthorizationFailedError, "does not let us write to the topic"),
    # Of an idempotent producer's start: this user may write to no topic at all.
    (ClusterAuthorizationFailedError, "does not let us write; the user needs WRITE on the topic"),
    (UnknownTopicOrPartitionError, "has no such topic, and makes none"),
    (
        (NotLeaderForPartitionError, LeaderNotAvailableError),
        "has no leader for the topic at present; the topic may be gone",
    ),
    ((TimeoutError, RequestTimedOutError), "does not answer"),
    (socket.gaierror, "has a host name that cannot be resolved"),
    ((KafkaConnectionError, EOFError, ConnectionResetError), "closed the connection; it may want {wanted}"),
)


def why(error: BaseException, access: Access) -> str:
    """What went wrong, as the end of a sentence that begins with the cluster's name; without secrets.

    aiokafka itself only says "Unable to bootstrap"; `reach` sees the errors that it logs.
    """
    if isinstance(error, ssl.SSLCertVerificationError) and error.verify_code in _ANOTHER_HOST:
        return "has a certificate for other host names than this"
    for kinds, reason in _REASONS:
        if isinstance(error, kinds):
            return reason.format(mechanism=access.mechanism, wanted=_other_ways_in(access))
    if isinstance(error, OSError):
        # By the number: asyncio's own text repeats the address.
        return f"cannot be connected to ({os.strerror(error.errno) if error.errno else type(error).__name__})"
    return f"failed ({type(error).__name__})"


def _other_ways_in(access: Access) -> str:
    scheme = "kafka:// without TLS" if access.tls else "kafka+ssl://"
    return scheme if access.credentials else f"{scheme}, or a user and a password"
