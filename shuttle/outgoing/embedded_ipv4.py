"""Finds the IPv4 addresses in an IPv6 address to which a gateway, a tunnel or the system itself would connect."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_network

# Networks whose addresses have an IPv4 address in their last four bytes.
_IPV4_IN_LAST_BYTES = tuple(
    ip_network(text)
    for text in (
        "::/96",  # IPv4-compatible (RFC 4291, 2.5.5.1)
        "::ffff:0:0/96",  # IPv4-mapped (RFC 4291, 2.5.5.2)
        "::ffff:0:0:0/96",  # IPv4-translated (RFC 2765)
        "64:ff9b::/96",  # NAT64 (RFC 6052)
    )
)
# The unspecified and the loopback address are in ::/96, but are not IPv4-compatible addresses.
_NOT_IPV4_COMPATIBLE = frozenset((IPv6Address("::"), IPv6Address("::1")))
# RFC 8215: an operator's NAT64 gateways may use prefixes of any length in this network.
_LOCAL_NAT64 = ip_network("64:ff9b:1::/48")
# RFC 6052, 2.2: the indexes of the IPv4 address' bytes after prefixes of 48, 56, 64 and 96 bits; byte 8 is skipped.
_NAT64_BYTES = ((6, 7, 9, 10), (7, 9, 10, 11), (9, 10, 11, 12), (12, 13, 14, 15))
# RFC 5214: the first half of an interface identifier; the second half is the IPv4 address.
_ISATAP = (bytes.fromhex("00005efe"), bytes.fromhex("02005efe"))


def embedded_ipv4(address: IPv6Address) -> Iterator[IPv4Address]:
    """Yield every IPv4 address that `address` may stand for. Which one it is depends on the network's gateways."""
    if address in _NOT_IPV4_COMPATIBLE:
        return
    packed = address.packed
    if any(address in network for network in _IPV4_IN_LAST_BYTES) or packed[8:12] in _ISATAP:
        yield IPv4Address(packed[12:])
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo  # the server, to which the first packet is sent, and the client
    if address in _LOCAL_NAT64:
        yield from _local_nat64(packed)


def _local_nat64(packed: bytes) -> Iterator[IPv4Address]:
    """Yield an address for each length of the prefix, except 0.x.y.z: no gateway translates to these."""
    for indexes in _NAT64_BYTES:
        candidate = bytes(packed[index] for index in indexes)
        if candidate[0]:
            yield IPv4Address(candidate)
