"""Refuses hosts of URLs that are written as addresses, not as names, if the policy forbids to connect to them."""

import socket
from ipaddress import IPv4Address, ip_address

from yarl import URL

from shuttle.errors import AddressRefusedError, InvalidRequestError
from shuttle.outgoing.connector import AddressPolicy, IPAddress


def check_literal_host(host: str, name: str, policy: AddressPolicy) -> None:
    """Check the host of a URL in the request's field `name`. A name is not looked up: it is checked when it is used.

    Raises:
        InvalidRequestError: the host is an address to which the service does not connect.
    """
    address = literal_address(host)
    if address is None:
        return
    try:
        policy.check(address)
    except AddressRefusedError as error:
        raise InvalidRequestError(error.message, field=name) from None


def literal_address(host: str) -> IPAddress | None:
    """The address that the host is; None = it is a name.

    A final dot does not make it a name. The C library reads numbers like `127.1`, `0x7f000001` and `2130706433` as
    addresses, and IDNA makes ASCII digits of others.
    """
    if not host.isascii():
        host = URL(f"http://{host}/").raw_host or ""
    text = host.strip("[]").removesuffix(".")
    try:
        return ip_address(text)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(text))
    except OSError:
        return None
