"""Addresses: the standard library's `ipaddress`, which the plugins cannot afford to import, is the oracle."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cni_plugins.protocol.ip import Cidr, parse_address, parse_cidr, parse_either

ADDRESSES = st.ip_addresses().filter(lambda one: not getattr(one, "ipv4_mapped", None) and not getattr(one, "scope_id", None))
INTERFACES = st.builds(
    lambda address, short: ipaddress.ip_interface((address, max(0, address.max_prefixlen - short))), ADDRESSES, st.integers(0, 128)
)


@given(ADDRESSES)
def test_address_is_read_and_printed_as_the_standard_library_does(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    read = parse_address(str(address))
    assert (read.family, read.value, read.prefix) == (address.version, int(address), address.max_prefixlen)
    assert read.packed == address.packed
    assert parse_address(read.address) == read


@given(INTERFACES)
def test_network_has_the_same_ends_as_in_the_standard_library(interface: ipaddress.IPv4Interface | ipaddress.IPv6Interface) -> None:
    read = parse_cidr(str(interface))
    network = interface.network
    assert (read.first, read.last) == (int(network.network_address), int(network.broadcast_address))
    assert read.network == parse_cidr(str(network))
    assert str(read.host) == f"{read.address}/{interface.max_prefixlen}"


@given(INTERFACES, INTERFACES)
def test_networks_overlap_as_in_the_standard_library(
    one: ipaddress.IPv4Interface | ipaddress.IPv6Interface, other: ipaddress.IPv4Interface | ipaddress.IPv6Interface
) -> None:
    expected = one.version == other.version and one.network.overlaps(other.network)
    assert parse_cidr(str(one)).overlaps(parse_cidr(str(other))) == expected


@given(st.text())
@example("10.1.2.3/33")
@example("10.1.2/24")
@example("010.1.2.3/24")
@example("10.1.2.3/+4")
@example("10.1.2.3/²")
@example("10.1.2.3/24/24")
@example("fe80::1%eth0/64")
@example("10.1.2.3\0/8")
def test_anything_else_is_refused_by_name(text: str) -> None:
    try:
        assert str(parse_either(text))
    except ValueError as error:
        assert repr(text) in str(error)  # noqa: PT017 - most texts are refused, few are not


def test_ipv4_in_ipv6_notation_is_ipv4() -> None:
    assert parse_address("::ffff:10.1.2.3") == Cidr(4, 0x0A010203, 32)


@pytest.mark.parametrize("text", ["10.1.2.3", "::1"])
def test_address_without_prefix_is_no_network(text: str) -> None:
    with pytest.raises(ValueError, match="prefix length"):
        parse_cidr(text)
