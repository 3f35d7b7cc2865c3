"""Hooks whose hosts are written as addresses are refused if the service does not connect to these addresses."""

from ipaddress import ip_network

import pytest

from shuttle.errors import InvalidRequestError
from shuttle.outgoing.connector import AddressPolicy
from shuttle.outgoing.hooks import parse_hooks

STRICT, LOCAL = AddressPolicy(allow_loopback=False), AddressPolicy(allow_loopback=True)
LOOPBACK = ["127.0.0.1", "127.0.0.1.", "127.1", "0x7f000001", "017700000001", "2130706433", "[::1]", "[::ffff:7f00:1]"]
LOOPBACK += ["①②⑦.0.0.1", "127。0。0。1"]
METADATA = ["169.254.169.254", "169.254.169.254.", "169.254.43518", "0xA9FEA9FE", "2852039166", "0251.0376.0251.0376"]
METADATA += ["[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]", "[2002:a9fe:a9fe::1]", "[fd00:ec2::254]", "[fe80::1]"]
NO_HOST = ["0.0.0.0", "0", "[::]", "255.255.255.255", "[ff02::1]"]


def check(url: str, policy: AddressPolicy) -> None:
    parse_hooks(["http://a/", {"url": url}], "webhooks.status", policy)


@pytest.mark.parametrize("url", ["https://{}/x", "HTTP://u:p@{}:8080", "failover(http://b/, https://{}/)"])
@pytest.mark.parametrize("host", [*METADATA, *NO_HOST])
def test_forbidden_address_is_refused_in_any_form(url: str, host: str):
    with pytest.raises(InvalidRequestError, match="SHUTTLE_ALLOW_NETWORKS") as caught:
        check(url.format(host), LOCAL)
    assert caught.value.field == "webhooks.status[1].url"


@pytest.mark.parametrize("host", ["169.254.169.254", "2852039166", "[::ffff:a9fe:a9fe]"])
def test_every_host_of_kafka_is_checked(host: str):
    with pytest.raises(InvalidRequestError, match="is link-local"):
        check(f"kafka://broker:9092,{host}:9092/topic", LOCAL)


@pytest.mark.parametrize("host", LOOPBACK)
def test_loopback_is_refused_unless_the_service_listens_there(host: str):
    check(f"http://{host}/", LOCAL)
    with pytest.raises(InvalidRequestError, match="is loopback"):
        check(f"http://{host}/", STRICT)


@pytest.mark.parametrize("host", [*METADATA[:8], *LOOPBACK])
def test_address_in_an_allowed_network_is_accepted(host: str):
    networks = [ip_network(network) for network in ("127.0.0.0/8", "169.254.0.0/16", "::1/128")]
    check(f"http://{host}/", AddressPolicy(allow_loopback=False, allow_networks=networks))


@pytest.mark.parametrize(
    "host",
    ["10.0.0.1", "167772161", "[2a00:1450::1]", "localhost", "10.0.0.0.1", "169.254.169.254.nip.example", "bücher"],
)
def test_other_addresses_and_names_are_accepted(host: str):
    check(f"http://{host}/", STRICT)


def test_sending_checks_what_creation_did_not():
    """Without a policy, as for requests of the older API, creation accepts every address."""
    parse_hooks("http://169.254.169.254/", "callback")
