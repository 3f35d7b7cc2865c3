"""Credentials, TLS and addresses of clusters; errors say why access was refused and show no secrets."""

import json
from typing import Any

import pytest
from aiokafka.errors import NotLeaderForPartitionError

from shuttle.errors import AddressRefusedError, KafkaUnavailableError
from shuttle.kafka.access import Access, access_to, describe_fault
from shuttle.kafka.connector import BrokerConnector
from shuttle.kafka.topic import messages_of
from shuttle.outgoing.connector import AddressPolicy, CheckingResolver
from shuttle.outgoing.kafka_url import read_kafka_url
from shuttle.settings import load_settings
from tests.support.certificates import loopback_tls
from tests.support.kafka_broker import (
    AUTHENTICATE,
    HANDSHAKE,
    HANG,
    HANG_UP,
    ILLEGAL_STATE,
    METADATA,
    NO_RIGHT_TO_THE_CLUSTER,
    NO_RIGHT_TO_THE_TOPIC,
    NO_SUCH_TOPIC,
    OTHER_MECHANISM,
    PRODUCER_ID,
    WRONG_PASSWORD,
    broker,
)
from tests.unit.kafka.test_kafka_traps import send


def failing_at(api: int, fault: int | str):
    async def answering(asked: int) -> int | str | None:
        return fault if asked == api else None

    return answering


async def test_credentials_in_the_url_are_sent_to_the_cluster(make_clusters):
    async with broker() as running:
        await send(make_clusters(), running.url(userinfo="us%40er:p%3Aw@"), "a")
        assert set(running.credentials) == {b"us@er\0us@er\0p:w"}
        assert running.values == [b"a"]


async def test_wrong_password_is_reported(make_clusters):
    async with broker() as running:
        running.answering = failing_at(AUTHENTICATE, WRONG_PASSWORD)
        with pytest.raises(KafkaUnavailableError) as caught:
            await send(make_clusters(), running.url(userinfo="user:s3cret@"), "a")
        assert caught.value.message == f"Kafka {running.bootstrap} refused the user or the password (SASL PLAIN)."


async def test_error_for_an_unsupported_mechanism_names_the_setting(make_clusters):
    async with broker() as running:
        running.answering = failing_at(HANDSHAKE, OTHER_MECHANISM)
        with pytest.raises(
            KafkaUnavailableError, match="does not support SASL SCRAM-SHA-512; SHUTTLE_KAFKA_SASL_MECHANISM"
        ):
            await send(
                make_clusters(SHUTTLE_KAFKA_SASL_MECHANISM="SCRAM-SHA-512"), running.url(userinfo="user:s3cret@"), "a"
            )


async def test_error_for_a_closed_connection_suggests_tls_or_credentials(make_clusters):
    async with broker() as running:
        running.answering = failing_at(METADATA, HANG_UP)
        with pytest.raises(KafkaUnavailableError, match=r"may want kafka\+ssl://, or a user and a password"):
            await send(make_clusters(), running.url(), "a")
        with pytest.raises(KafkaUnavailableError, match=r"may want kafka\+ssl://\."):
            await send(make_clusters(), running.url(userinfo="user:s3cret@"), "a")


async def test_cluster_that_accepts_no_credentials_is_reported(make_clusters):
    async with broker() as running:
        running.answering = failing_at(HANDSHAKE, ILLEGAL_STATE)
        with pytest.raises(KafkaUnavailableError, match="does not accept a user and password"):
            await send(make_clusters(), running.url(userinfo="user:s3cret@"), "a")


async def test_error_for_a_user_without_rights_names_the_needed_right(make_clusters):
    async with broker() as running:
        running.answering = failing_at(PRODUCER_ID, NO_RIGHT_TO_THE_CLUSTER)
        with pytest.raises(KafkaUnavailableError, match="needs WRITE on the topic"):
            await send(make_clusters(), running.url(), "a")


@pytest.mark.slow
async def test_missing_topic_is_distinguished_from_no_answer_with_short_timeouts(make_clusters):
    async with broker() as running:
        running.answering = failing_at(METADATA, NO_SUCH_TOPIC)
        with pytest.raises(KafkaUnavailableError, match="has no such topic and does not create topics"):
            await send(make_clusters(SHUTTLE_KAFKA_REQUEST_TIMEOUT_SECONDS="60"), running.url(), "a", timeout_seconds=1)
        running.answering = failing_at(METADATA, HANG)
        with pytest.raises(KafkaUnavailableError, match="does not answer"):
            await send(make_clusters(), running.url(), "a", timeout_seconds=1)


async def test_tls_requires_a_trusted_certificate_for_the_host(make_clusters, tmp_path):
    context, ca_file = loopback_tls(tmp_path)
    async with broker(tls=context) as running:
        await send(make_clusters(SHUTTLE_CA_FILE=str(ca_file)), running.url(scheme="kafka+ssl"), "a")
        await send(make_clusters(SHUTTLE_KAFKA_CA_FILE=str(ca_file)), running.url(scheme="kafka+ssl"), "b")
        assert running.values == [b"a", b"b"]
        with pytest.raises(KafkaUnavailableError, match="certificate that is not trusted"):
            await send(make_clusters(), running.url(scheme="kafka+ssl"), "c")
        by_another_name = running.url(scheme="kafka+ssl").replace("127.0.0.1", "localhost")
        with pytest.raises(KafkaUnavailableError, match="certificate for other host names"):
            await send(make_clusters(SHUTTLE_CA_FILE=str(ca_file)), by_another_name, "d")


async def test_tls_to_a_broker_without_tls_fails(make_clusters):
    async with broker() as running:
        with pytest.raises(KafkaUnavailableError):
            await send(make_clusters(), running.url(scheme="kafka+ssl"), "a", timeout_seconds=0.3)


@pytest.mark.parametrize(
    ("code", "description"),
    [
        (NO_SUCH_TOPIC, "has no such topic and does not create topics"),
        (NO_RIGHT_TO_THE_TOPIC, "denies reading the topic"),
    ],
)
async def test_error_says_why_a_topic_cannot_be_read(code, description):
    settings = load_settings({})
    async with broker() as running:
        running.answering = failing_at(METADATA, code)
        address = read_kafka_url(running.url(), "test")
        connector = BrokerConnector(CheckingResolver(AddressPolicy(allow_loopback=True)))
        with pytest.raises(KafkaUnavailableError, match=description):
            await anext(messages_of("u", address, access_to(address, settings), connector, timeout_seconds=1))
        await connector.close()


async def test_refused_bootstrap_host_is_not_connected_to(make_clusters):
    async with broker() as running:
        with pytest.raises(AddressRefusedError, match="loopback"):
            await send(make_clusters(allow_loopback=False), running.url(), "a")
        assert not running.connections


async def test_refused_advertised_host_is_not_connected_to(make_clusters):
    async with broker() as running, broker() as inner:
        running.advertised = ("127.0.0.2", inner.port)
        clusters = make_clusters(allow_loopback=False, SHUTTLE_ALLOW_NETWORKS="127.0.0.1/32")
        with pytest.raises(AddressRefusedError, match=r"127\.0\.0\.2 is loopback"):
            await send(clusters, running.url(), "a")
        assert not inner.connections


def test_operators_credentials_are_used_for_the_configured_hosts_only():
    entry = '{"username": "u", "password": "p"}'
    settings = load_settings({"SHUTTLE_KAFKA_CREDENTIALS": f'{{"k1:9092": {entry}, "k2": {entry}}}'})

    def credentials(url: str) -> Any:
        return access_to(read_kafka_url(url, "test"), settings).credentials

    assert credentials("kafka://k1,k2:1/t") is not None
    assert credentials("kafka://k1,evil/t") is None
    assert credentials("kafka://evil/t") is None
    assert credentials("kafka://mine:own@k1/t").user == "mine"


@pytest.mark.parametrize("url", ["kafka://[::1]/t", "kafka://[2001:DB8::1]:19092/t", "kafka://kafka.Example.com/t"])
def test_operators_credentials_are_found_for_ipv6_and_in_any_case(url: str):
    entry = {"username": "u", "password": "p"}
    listed = dict.fromkeys(("[::1]:9092", "[2001:db8::1]", "Kafka.example.com"), entry)
    settings = load_settings({"SHUTTLE_KAFKA_CREDENTIALS": json.dumps(listed)})
    assert access_to(read_kafka_url(url, "test"), settings).credentials is not None


def test_deleted_topic_is_reported_as_without_leader():
    """aiokafka raises this for real brokers; the topics of the fake broker always have a leader."""
    description = describe_fault(NotLeaderForPartitionError(), Access(tls=False))
    assert description.startswith("currently has no leader for the topic")


def test_repr_does_not_show_the_password():
    access = access_to(read_kafka_url("kafka://u:s3cret@h/t", "test"), load_settings({}))
    assert "s3cret" not in repr(access)
