"""Addresses and routes made here are what ip(8) shows, and those that ip(8) makes are what is read here."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cni_plugins.kernel.netlink import IFA_F_TENTATIVE, Link, Netlink, NetlinkError, Route
from cni_plugins.protocol.ip import parse_address, parse_cidr
from tests.support.node import Node


@pytest.fixture
def link(node: Node, netlink: Netlink) -> Link:
    """A link that is up, as is its other end."""
    made = netlink.add_veth("a0", peer_name="b0")
    netlink.set_link(made.peer_index, up=True)
    return made


def addresses(node: Node) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(node.run(["ip", "-json", "address", "show", "a0"]).stdout)[0]["addr_info"]
    return [address for address in found if address["scope"] != "link"]


def routes(node: Node, *what: str) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(node.run(["ip", "-json", "-details", *what]).stdout or "[]")
    return listed


def test_an_ipv4_address_has_a_broadcast_address_as_the_reference_gives_it(node: Node, netlink: Netlink, link: Link) -> None:
    netlink.add_address(link.index, parse_cidr("10.1.2.3/20"))
    (seen,) = addresses(node)
    assert (seen["local"], seen["prefixlen"], seen["broadcast"]) == ("10.1.2.3", 20, "10.1.15.255")
    (read,) = netlink.addresses(link.index, family=4)
    assert (str(read.cidr), read.index, read.peer) == ("10.1.2.3/20", link.index, None)


def test_a_single_host_has_none(node: Node, netlink: Netlink, link: Link) -> None:
    netlink.add_address(link.index, parse_cidr("10.1.2.3/32"))
    assert "broadcast" not in addresses(node)[0]


def test_an_ipv6_address_is_usable_at_once_or_after_detection(node: Node, netlink: Netlink, link: Link) -> None:
    netlink.add_address(link.index, parse_cidr("fd00::1/64"), nodad=True)
    netlink.add_address(link.index, parse_cidr("fd00::2/64"))
    flags = {str(address.cidr): address.flags for address in netlink.addresses(link.index, family=6)}
    assert not flags["fd00::1/64"] & IFA_F_TENTATIVE
    assert flags["fd00::2/64"] & IFA_F_TENTATIVE
    assert [address.get("nodad", False) for address in addresses(node) if address["local"] == "fd00::1"] == [True]


def test_an_address_comes_without_a_route_when_asked(node: Node, netlink: Netlink, link: Link) -> None:
    netlink.add_address(link.index, parse_cidr("10.1.2.3/20"), noprefixroute=True)
    assert netlink.routes(link.index, family=4) == []


def test_a_point_to_point_address_has_a_peer(node: Node, netlink: Netlink, link: Link) -> None:
    node.run(["ip", "address", "add", "10.0.0.1", "peer", "10.0.0.2/32", "dev", "a0"])
    (read,) = netlink.addresses(link.index, family=4)
    assert (str(read.cidr), str(read.peer)) == ("10.0.0.1/32", "10.0.0.2/32")
    assert netlink.delete_address(link.index, parse_cidr("10.0.0.1/32"), peer=read.peer)
    netlink.add_address(link.index, parse_cidr("10.0.0.3/32"), peer=parse_address("10.0.0.4"))
    assert addresses(node)[0]["address"] == "10.0.0.4"


def test_addresses_are_those_of_the_link_that_was_asked_for(node: Node, netlink: Netlink, link: Link) -> None:
    netlink.add_address(link.index, parse_cidr("10.1.2.3/20"))
    netlink.add_address(link.peer_index, parse_cidr("10.9.0.1/20"))
    assert [str(address.cidr) for address in netlink.addresses(link.index, family=4)] == ["10.1.2.3/20"]
    assert {str(address.cidr) for address in netlink.addresses(family=4)} == {"127.0.0.1/8", "10.1.2.3/20", "10.9.0.1/20"}
    assert netlink.addresses(9999) == []


def test_an_address_twice_is_an_error_and_one_that_is_gone_is_not(node: Node, netlink: Netlink, link: Link) -> None:
    cidr = parse_cidr("10.1.2.3/20")
    netlink.add_address(link.index, cidr)
    with pytest.raises(NetlinkError, match=r"cannot add address 10\.1\.2\.3/20 to link"):
        netlink.add_address(link.index, cidr)
    assert netlink.delete_address(link.index, cidr)
    assert not netlink.delete_address(link.index, cidr)
    assert addresses(node) == []


def test_a_containers_addresses_and_routes_are_one_request(node: Node, netlink: Netlink, link: Link) -> None:
    with netlink.batch():
        netlink.add_address(link.index, parse_cidr("10.1.0.5/16"))
        netlink.add_address(link.index, parse_cidr("fd00::5/64"), nodad=True)
        netlink.add_route(Route(None, gateway=parse_address("10.1.0.1"), index=link.index, mtu=1400, advmss=1360, priority=50))
        netlink.add_route(Route(None, gateway=parse_address("fd00::1"), index=link.index))
        netlink.add_route(Route(parse_cidr("192.0.2.0/24"), index=link.index, table=1000))
    (default,) = routes(node, "-4", "route", "show", "default")
    assert (default["gateway"], default["dev"], default["metric"]) == ("10.1.0.1", "a0", 50)
    assert default["metrics"] == [{"mtu": 1400, "advmss": 1360}]
    assert routes(node, "-6", "route", "show", "default")[0]["gateway"] == "fd00::1"
    (other,) = routes(node, "route", "show", "table", "1000")
    assert (other["dst"], other["scope"]) == ("192.0.2.0/24", "link")


def test_routes_that_ip_makes_are_read(node: Node, netlink: Netlink, link: Link) -> None:
    netlink.add_address(link.index, parse_cidr("10.1.0.5/16"))
    node.run(["ip", "route", "add", "192.0.2.0/24", "via", "10.1.0.1", "src", "10.1.0.5", "metric", "7", "mtu", "1300", "advmss", "900"])
    node.run(["ip", "route", "add", "default", "via", "10.1.0.1", "table", "77", "proto", "static"])
    read = {str(route.dst): route for route in netlink.routes(link.index, family=4)}
    assert set(read) == {"10.1.0.0/16", "192.0.2.0/24"}
    route = read["192.0.2.0/24"]
    assert (str(route.gateway), str(route.source), route.priority, route.mtu) == ("10.1.0.1/32", "10.1.0.5/32", 7, 1300)
    assert (route.advmss, route.index, route.table, route.family) == (900, link.index, 254, 4)
    (default,) = netlink.routes(table=77)
    assert (default.dst, default.family, default.protocol, default.table) == (None, 4, 4, 77)
    assert netlink.routes(table=4242) == []


def test_several_hops_are_read(node: Node, netlink: Netlink, link: Link) -> None:
    netlink.add_address(link.index, parse_cidr("10.1.0.5/16"))
    node.run(["ip", "route", "add", "192.0.2.0/24", "nexthop", "via", "10.1.0.1", "dev", "a0", "nexthop", "via", "10.1.0.2", "dev", "a0"])
    (route,) = [route for route in netlink.routes(family=4) if str(route.dst) == "192.0.2.0/24"]
    assert [(str(gateway), index) for gateway, index in route.hops] == [("10.1.0.1/32", link.index), ("10.1.0.2/32", link.index)]


def test_a_second_gateway_to_the_same_destination_stands_beside_the_first(node: Node, netlink: Netlink, link: Link) -> None:
    netlink.add_address(link.index, parse_cidr("fd00::5/64"), nodad=True)
    for gateway in ("fd00::1", "fd00::2"):
        netlink.add_route(Route(parse_cidr("2001:db8::/32"), gateway=parse_address(gateway), index=link.index), another=True)
    (route,) = routes(node, "-6", "route", "show", "2001:db8::/32")
    assert [hop["gateway"] for hop in route["nexthops"]] == ["fd00::1", "fd00::2"]
    (read,) = [route for route in netlink.routes(family=6) if str(route.dst) == "2001:db8::/32"]
    assert [str(gateway) for gateway, _index in read.hops] == ["fd00::1/128", "fd00::2/128"]


def test_a_route_twice_is_an_error_and_one_that_is_gone_is_not(node: Node, netlink: Netlink, link: Link) -> None:
    route = Route(parse_cidr("192.0.2.0/24"), index=link.index)
    netlink.add_route(route)
    with pytest.raises(NetlinkError, match=r"cannot add route 192\.0\.2\.0/24: File exists"):
        netlink.add_route(route)
    assert netlink.delete_route(route)
    assert not netlink.delete_route(route)


def test_an_unreachable_gateway_is_refused_in_the_kernels_words(node: Node, netlink: Netlink, link: Link) -> None:
    reason = r"cannot add route default via 203\.0\.113\.1: Network is unreachable: Nexthop has invalid gateway"
    with pytest.raises(NetlinkError, match=reason):
        netlink.add_route(Route(None, gateway=parse_address("203.0.113.1"), index=link.index))
