"""The IPv4 addresses that an IPv6 address stands for: where a gateway, a tunnel or the system itself connects to."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_network

# With the IPv4 address in the last four bytes.
_IN_THE_END = tuple(
    ip_network(text)
    for text in (
        "::/96",  # IPv4-compatible (RFC 4291, 2.5.5.1)
        "::ffff:0:0/96",  # IPv4-mapped (RFC 4291, 2.5.5.2)
        "::ffff:0:0:0/96",  # IPv4-translated (RFC 2765)
        "64:ff9b::/96",  # NAT64 (RFC 6052)
    )
)
# These are no IPv4-compatible ones: unspecified and loopback.
_OWN_MEANING = frozenset((IPv6Address("::"), IPv6Address("::1")))
# RFC 8215: an operator's own NAT64 gateways have prefixes of any length in it.
_LOCAL_NAT64 = ip_network("64:ff9b:1::/48")
# RFC 6052, 2.2: the bytes of the IPv4 address behind prefixes of 48, 56, 64 and 96 bits; byte 8 is none of them.
_NAT64_BYTES = ((6, 7, 9, 10), (7, 9, 10, 11), (9, 10, 11, 12), (12, 13, 14, 15))
# RFC 5214: the first half of an interface's identifier; the second is its IPv4 address.
_ISATAP = (bytes.fromhex("00005efe"), bytes.fromhex("02005efe"))


def embedded_ipv4(address: IPv6Address) -> Iterator[IPv4Address]:
    """All that the address may stand for: which one does, only the network knows."""
    if address in _OWN_MEANING:
        return
    packed = address.packed
    if any(address in network for network in _IN_THE_END) or packed[8:12] in _ISATAP:
        yield IPv4Address(packed[12:])
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo  # the server, which is contacted first, and the client
    if address in _LOCAL_NAT64:
        yield from _local_nat64(packed)


def _local_nat64(packed: bytes) -> Iterator[IPv4Address]:
    """By each length of the prefix. 0.x.y.z, which no gateway translates, shows that it is another length."""
    for length in _NAT64_BYTES:
        found = bytes(packed[place] for place in length)
        if found[0]:
            yield IPv4Address(found)
