"""Kafka URLs: `kafka://[user:password@]host[:port][,host2…]/topic`, and `kafka+ssl://` for TLS."""

import re
from dataclasses import dataclass, field

from shuttle.errors import InvalidRequestError
from shuttle.outgoing.urls import check_host, check_length, check_userinfo, read_port
from shuttle.outgoing.userinfo import Credentials, split_userinfo

DEFAULT_PORT = 9092

_URL = re.compile(
    r"kafka(?P<tls>\+ssl)?://(?:(?P<userinfo>[^/?#@]*)@)?(?P<hosts>[^/?#@]*)(?P<rest>.*)", re.DOTALL | re.IGNORECASE
)
_HOST = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>.*))?", re.DOTALL)
# Kafka's rule (org.apache.kafka.common.internals.Topic): at most 249 characters, and neither "." nor "..".
_TOPIC = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._\-]{1,249}")


@dataclass(frozen=True, slots=True)
class KafkaAddress:
    """A topic of a cluster: bootstrap hosts with their ports, TLS and credentials."""

    hosts: tuple[tuple[str, int], ...]
    topic: str
    tls: bool = False
    credentials: Credentials | None = field(default=None, repr=False)


def read_kafka_url(url: str, name: str) -> KafkaAddress:
    """Parse `url`, the value of the request's field `name`; ports default to 9092.

    Raises:
        InvalidRequestError: a part of it cannot be used; the message never repeats the URL.
    """
    check_length(url, name)
    parts = _URL.fullmatch(url)
    if parts is None:
        raise InvalidRequestError("Write kafka://host[:port][,host2…]/topic.", field=name)
    if parts["userinfo"] is not None:
        check_userinfo(parts["userinfo"], name)
    credentials = split_userinfo(url)[1]
    if credentials is not None and not (credentials.user and credentials.password):
        raise InvalidRequestError("Write Kafka's credentials as user:password.", field=name)
    if "@" in parts["rest"]:
        raise InvalidRequestError(
            "Write a Kafka user and password once, before the first host, with any of / ? # @ in them percent-encoded.",
            field=name,
        )
    topic = parts["rest"].removeprefix("/")
    if not _TOPIC.fullmatch(topic):
        raise InvalidRequestError(
            "Name a Kafka topic after the hosts: up to 249 letters, digits, dots, dashes and underscores.", field=name
        )
    hosts = tuple(_read_host(entry, name) for entry in parts["hosts"].split(","))
    return KafkaAddress(hosts, topic, parts["tls"] is not None, credentials)


def shown_hosts(address: KafkaAddress) -> str:
    """`host:port,host2:port`, for display."""
    return ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in address.hosts)


def _read_host(entry: str, name: str) -> tuple[str, int]:
    parts = _HOST.fullmatch(entry)
    if parts is None:
        raise InvalidRequestError("Write each Kafka host as host or host:port.", field=name)
    check_host(parts["host"], name)
    if not parts["host"].isascii():
        raise InvalidRequestError("Write a Kafka host in ASCII; an international name has an IDNA form.", field=name)
    port = DEFAULT_PORT if parts["port"] is None else read_port(parts["port"], name)
    return parts["host"].strip("[]"), port
